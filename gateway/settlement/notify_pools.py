"""Pools of minutes at 80 and at 100 per cent: told once a month of each pool (DOMAIN 5).

Totals are known to policy, what is used to the ledger; ``minutes`` brings both together.
"""

from collections.abc import Iterable, Iterator, Mapping

from gateway.ledger.notices import Notice

MARKS = (("pool.80", 80), ("pool.100", 100))
"""The events, and the share in per cent from which each is told."""


def pool_notices(
    tenant_id: str, month: str, totals: Mapping[str, int], used: Mapping[str, int], now_ms: int
) -> Iterator[Notice]:
    """The notices of a tenant's pools in ``month`` ("2026-11"); ``totals`` and ``used`` are minutes by pool.

    A pool of no minutes has no share that could be used.
    """
    for pool, total in totals.items():
        minutes = used.get(pool, 0)
        for event, share in _reached(minutes, total):
            figures: dict[str, str | int] = {
                "pool": pool,
                "month": month,
                "used": minutes,
                "total": total,
                "available": max(0, total - minutes),
                "percent": share,
            }
            yield Notice(tenant_id, event, f"{pool} {month}", now_ms, figures)


def _reached(minutes: int, total: int) -> Iterable[tuple[str, int]]:
    return ((event, share) for event, share in MARKS if total > 0 and total * share <= minutes * 100)
