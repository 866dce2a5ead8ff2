"""Pools of minutes: told at 80 and at 100 per cent, once a month of each."""

import pytest

from gateway.ledger import Ledger
from gateway.ledger.notices import Notice
from gateway.settlement.notify_pools import pool_notices

TOTALS = {"zone-a": 6_900, "MCOPSTN5 GB": 12_000, "empty": 0}


def notices(used: dict[str, int], month: str = "2026-11") -> list[Notice]:
    return list(pool_notices("contoso", month, TOTALS, used, 1_000))


@pytest.mark.parametrize(
    ("used", "events"),
    [(0, []), (5_519, []), (5_520, ["pool.80"]), (6_899, ["pool.80"]), (6_900, ["pool.80", "pool.100"])],
)
def test_a_pool_is_told_of_from_its_marks_on(used: int, events: list[str]) -> None:
    found = notices({"zone-a": used, "empty": 5, "of nobody": 9})
    assert [each.event for each in found] == events
    assert all(each.figures["available"] == 6_900 - used for each in found)


async def test_it_is_told_once_a_month_of_each(ledger: Ledger) -> None:
    used = {"zone-a": 6_000, "MCOPSTN5 GB": 12_000}
    assert await ledger.add_notices(notices(used)) == 3
    assert await ledger.add_notices(notices(used | {"zone-a": 6_100})) == 0
    assert await ledger.add_notices(notices(used, "2026-12")) == 3
