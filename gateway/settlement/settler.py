"""The settler: the one loop that brings charges from Redis' outbox into the ledger, and money from the ledger to Redis."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger


@dataclass(frozen=True, slots=True)
class SettlerObserver:
    """Where the settler reports what telemetry shows; every field may be left out.

    ``outbox(pending, lag_s)`` and ``drift(micros)`` once a second; ``tenant(id, balance_micros, held_micros,
    exhausted)`` for each tenant at most once a second; ``booked(calls)`` after each commit; ``swept(calls)``;
    ``ledger_up`` and ``redis_up`` when they change; ``alert(code, text)`` belongs into the log as an error:
    POISON, DRIFT, REDIS_CHANGED, LEDGER_AWAY, REDIS_AWAY, FAULT.
    """

    outbox: Callable[[int, float], None] = lambda pending, lag_s: None
    tenant: Callable[[str, int, int, bool], None] = lambda tenant, balance, held, exhausted: None
    drift: Callable[[int], None] = lambda micros: None
    booked: Callable[[int], None] = lambda calls: None
    swept: Callable[[int], None] = lambda calls: None
    ledger_up: Callable[[bool], None] = lambda up: None
    redis_up: Callable[[bool], None] = lambda up: None
    alert: Callable[[str, str], None] = lambda code, text: None


class Settler:
    """Outbox → ledger, ledger → Redis, accounts, sweep, gauges.  One per installation; a second one does no harm."""

    def __init__(self, ledger: Ledger, credit: CreditAdmin, observer: SettlerObserver | None = None) -> None:
        raise NotImplementedError

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; survives ledger and Redis being away, at the start too.  Migrates the ledger first.

        At the stop it books once more what waits.
        """
        raise NotImplementedError

    async def settle_once(self) -> int:
        """One turn by hand: book what waits in the outbox; how many entries.  Raises LedgerAway or StoreError."""
        raise NotImplementedError
