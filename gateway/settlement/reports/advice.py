"""Funding advice for one tenant: its daily spend into ``policy.advice``, and what its minutes cost by destination.

Looked at are whole UTC days up to today's first moment, from the first day that has a call: a tenant that began last
week is not taken for one that was silent before.
"""

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Final

from gateway.call.record import CallRecord
from gateway.ledger import Ledger
from gateway.settlement.files import DAY_MS
from gateway.settlement.reports.spend import Tally, start_ms
from policy.advice import MONTH_DAYS, Advice, advise

MOST_MONTHS: Final = 2
"""The source's "a month or two of usage"."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What minutes to one destination have cost; ``minute_micros`` is the mean, rounded up, 0 without talk."""

    destination: str
    calls: int
    minutes: int
    charge_micros: int

    @property
    def minute_micros(self) -> int:
        """The mean price of a started minute, connect fees included."""
        return -(-self.charge_micros // self.minutes) if self.minutes else 0


@dataclass(frozen=True, slots=True)
class FundingAdvice:
    """Advice for a tenant: from usage in [``from_ms``, ``to_ms``), with its destinations, the dearest sum first."""

    tenant_id: str
    currency: str
    from_ms: int
    to_ms: int
    advice: Advice
    destinations: tuple[Prices, ...]


async def advise_tenant(ledger: Ledger, tenant_id: str, months: int, now_ms: int) -> FundingAdvice:
    """Advice from the last ``months`` (1 or 2) of 30 days.  Raises UnknownTenant, LedgerAway."""
    tenant = await ledger.tenant(tenant_id)
    minimum = await ledger.minimum_funding(tenant_id)
    to_ms = now_ms // DAY_MS * DAY_MS
    asked_ms = to_ms - months * MONTH_DAYS * DAY_MS
    days, destinations = await _read(ledger.usage(tenant_id, asked_ms, to_ms))
    from_ms = min(days, default=to_ms // DAY_MS) * DAY_MS
    spent = [days.get(day, 0) for day in range(from_ms // DAY_MS, to_ms // DAY_MS)]
    return FundingAdvice(tenant.id, tenant.currency, from_ms, to_ms, advise(spent, minimum), destinations)


async def _read(records: AsyncIterable[CallRecord]) -> tuple[dict[int, int], tuple[Prices, ...]]:
    """What each day with a call cost, by its number since 1970, and the sums by destination."""
    days: dict[int, int] = {}
    sums: dict[str, Tally] = {}
    async for record in records:
        day = start_ms(record) // DAY_MS
        days[day] = days.get(day, 0) + record.charge_micros
        if record.charge_micros:
            sums.setdefault(record.destination, Tally()).add(record)
    ordered = sorted(sums.items(), key=lambda each: (-each[1].charge_micros, each[0]))
    return days, tuple(Prices(name, each.calls, each.minutes, each.charge_micros) for name, each in ordered)
