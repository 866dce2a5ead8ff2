"""What calls cost, told apart: each record once, minutes as they start, and sums to the micro."""

import pytest

from gateway.ledger import Ledger
from gateway.settlement.reports import SpendBy, spend_report

from .conftest import START_MS, Book

DAY_MS = 86_400_000


async def rows(ledger: Ledger, by: SpendBy) -> list[tuple[object, ...]]:
    report = await spend_report(ledger.usage("contoso"), by, "USD")
    return list(report.rows)


async def a_day(book: Book) -> None:
    await book("c1", talk_ms=60_001, pool="MCOPSTN1/US", pool_minutes=2, charge_micros=36_000)
    await book("c2", kind="conf_out", destination="Zimbabwe", charge_micros=480_000)
    await book("c3", user_id="bob@contoso.com", user_name="Bob", answered_ms=START_MS + DAY_MS)
    await book("c3:late", user_id="bob@contoso.com", user_name="Bob", answered_ms=START_MS + DAY_MS, charge_micros=5)
    await book("c4", tenant_id="fabrikam", charge_micros=99)


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("user", [
            ("alice@contoso.com", "Alice", 2, 3, 2, 516_000, "USD"),
            ("bob@contoso.com", "Bob", 1, 2, 0, 18_005, "USD"),
        ]),
        ("kind", [("conf_out", 1, 1, 0, 480_000, "USD"), ("user_out", 2, 4, 2, 54_005, "USD")]),
        ("destination", [("Zimbabwe", 1, 1, 0, 480_000, "USD"), ("France", 2, 4, 2, 54_005, "USD")]),
        ("day", [("2026-02-02", 2, 3, 2, 516_000, "USD"), ("2026-02-03", 1, 2, 0, 18_005, "USD")]),
    ],
)  # fmt: skip
async def test_spending(ledger: Ledger, book: Book, by: SpendBy, found: list[tuple[object, ...]]) -> None:
    await a_day(book)
    assert await rows(ledger, by) == found


async def test_no_calls_are_no_rows(ledger: Ledger) -> None:
    assert await rows(ledger, "user") == []


async def test_the_sum_is_what_the_ledger_charged(ledger: Ledger, book: Book) -> None:
    await a_day(book)
    (contoso,) = await ledger.totals(["contoso"])
    for by in ("user", "kind", "destination", "day"):
        assert sum(int(row[-2]) for row in await rows(ledger, by)) == contoso.charged_micros  # type: ignore[call-overload,arg-type]


async def test_people_see_two_decimals_and_programs_six(ledger: Ledger, book: Book) -> None:
    await book("c1", charge_micros=125_000)
    report = await spend_report(ledger.usage("contoso"), "kind", "USD")
    assert report.shown()[0]["Charge"] == "0.13"
    assert report.document()[0]["Charge"] == "0.125000"
