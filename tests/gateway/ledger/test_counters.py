"""Minutes of pools and money of limits in the ledger: counted with the charge, once, and read for open periods."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.ledger import CallEntry, Ledger, PoolUse, is_over
from policy.drawn import Minutes, Spent

Call = Callable[..., CallEntry]


async def test_minutes_and_limits_are_counted_with_the_charge_once(ledger: Ledger, call: Call) -> None:
    minutes = (Minutes("P/GB", "2025-10", 2), Minutes("P/GB", "2025-11", 1))
    entry = replace(call(), minutes=minutes, spent=(Spent("tenant/day", "2025-10-09", 20_000),))
    other = replace(call(), minutes=(Minutes("P/GB", "2025-10", 5),))
    await ledger.book([entry, other, entry])
    await ledger.book([entry])
    assert await ledger.pool_use("contoso") == [PoolUse("P/GB", "2025-10", 7), PoolUse("P/GB", "2025-11", 1)]
    assert await ledger.pool_use("contoso", "2025-11") == [PoolUse("P/GB", "2025-11", 1)]
    assert await ledger.pool_use("fabrikam") == []
    assert await ledger.open_counters() == {
        "contoso": {"used P/GB 2025-10": 7, "used P/GB 2025-11": 1, "spent tenant/day 2025-10-09": 20_000}
    }


async def test_a_charge_that_is_set_aside_counts_nothing(ledger: Ledger, call: Call) -> None:
    broken = replace(call(), record=b"no record", minutes=(Minutes("P/GB", "2025-10", 2),))
    assert len((await ledger.book([broken])).set_aside) == 1
    assert await ledger.pool_use("contoso") == []


async def test_periods_that_are_over_do_not_matter_any_more(ledger: Ledger, call: Call, clock: Any) -> None:
    clock.ms = int(datetime(2026, 2, 20, 12, tzinfo=UTC).timestamp() * 1000)
    labels = ("2025-12", "2026-01", "2026-02", "2026-02-16", "2026-02-17", "2026-02-18T11", "2026-02-18T12")
    spent = tuple(Spent("tenant/some", label, 1) for label in labels)
    await ledger.book([replace(call(), spent=spent, minutes=(Minutes("P", "2025-12", 1), Minutes("P", "2026-02", 1)))])
    kept = (await ledger.open_counters())["contoso"]
    assert sorted(kept) == sorted(
        ["used P 2026-02", *(f"spent tenant/some {label}" for label in
                             ("2026-01", "2026-02", "2026-02-17", "2026-02-18T12"))]
    )  # fmt: skip
    over = {label for label in labels if is_over(f"spent tenant/some {label}", clock.ms)}
    assert over == {"2025-12", "2026-02-16", "2026-02-18T11"}
    assert not is_over("live user/2025", clock.ms)
    assert is_over("held P 2025-12", clock.ms)
    assert not is_over("held P 2026-02", clock.ms)


async def test_money_of_periods_that_are_over_is_forgotten_and_minutes_are_kept(
    ledger: Ledger, call: Call, clock: Any
) -> None:
    clock.ms = int(datetime(2026, 2, 20, 12, tzinfo=UTC).timestamp() * 1000)
    labels = ("2025-12", "2026-02", "2026-02-16", "2026-02-20", "2026-02-18T11", "2026-02-20T12")
    spent = tuple(Spent("user/a/some", label, 1) for label in labels)
    await ledger.book([replace(call(), spent=spent, minutes=(Minutes("P", "2025-12", 1), Minutes("P", "2026-02", 1)))])
    await ledger.forget_spent()
    assert await ledger.open_minutes() == {"contoso": {"used P 2026-02": 1}}
    clock.ms = 0  # nothing is over then
    kept = (await ledger.open_counters())["contoso"]
    assert sorted(kept) == sorted(
        ["used P 2025-12", "used P 2026-02",
         *(f"spent user/a/some {label}" for label in ("2026-02", "2026-02-20", "2026-02-20T12"))]
    )  # fmt: skip
