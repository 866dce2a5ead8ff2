"""Conference dial-out by organiser: nothing else is counted, and the five columns of the source come first."""

from gateway.ledger import Ledger
from gateway.settlement.reports import dial_out_report

from .conftest import Book


async def test_dial_out_counts_for_the_organiser(ledger: Ledger, book: Book) -> None:
    await book("c1", kind="conf_out", talk_ms=270_000, pool_minutes=3, charge_micros=36_000)
    await book("c2", kind="conf_out", charge_micros=0)
    await book("c3", kind="conf_out", user_id="zoe@contoso.com", user_name="", charge_micros=480_000)
    await book("c4", kind="conf_in", charge_micros=1)
    await book("c5", charge_micros=1)
    report = await dial_out_report(ledger.usage("contoso"), "USD")
    names = [column.name for column in report.columns]
    assert names == ["Organizer", "Username", "Minutes", "Credit Spent", "Currency", "Calls", "Pool Minutes"]
    assert report.rows == [
        ("", "zoe@contoso.com", 1, 480_000, "USD", 1, 0),
        ("Alice", "alice@contoso.com", 6, 36_000, "USD", 2, 3),
    ]
