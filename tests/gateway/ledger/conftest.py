"""One ledger for each test, on every backend the product knows (``ledger_url`` in tests/gateway/conftest.py)."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.call.record import CallRecord
from gateway.config.provisioning import Provisioning, parse
from gateway.ledger import CallEntry, Ledger

DECK = (
    "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,United Kingdom,20000,0,60,60\n"
)


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_760_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def empty_ledger(ledger_url: str, clock: Clock) -> AsyncIterator[Ledger]:
    """A ledger with its tables and nothing in them."""
    async with Ledger(ledger_url, now_ms=clock) as ledger:
        await ledger.migrate()
        yield ledger


@pytest.fixture
def document(tmp_path: Path) -> Callable[..., Provisioning]:
    """Makes a provisioning document of ``tenants`` (tables as in the file); ``deck`` holds the rows of their deck."""

    def make(*tenants: dict[str, Any], deck: str = DECK, currency: str = "USD") -> Provisioning:
        (tmp_path / "deck.csv").write_text(deck)
        full = [{"rate_deck": "standard"} | tenant for tenant in tenants]
        decks = [{"name": "standard", "currency": currency, "file": "deck.csv"}]
        return parse({"rate_deck": decks, "tenant": full}, "test.toml", tmp_path)

    return make


@pytest.fixture
async def ledger(empty_ledger: Ledger, document: Callable[..., Provisioning]) -> Ledger:
    """A ledger with the tenants contoso and fabrikam, without money."""
    await empty_ledger.provision(document({"id": "contoso"}, {"id": "fabrikam"}))
    return empty_ledger


@pytest.fixture
def call() -> Callable[..., CallEntry]:
    """Makes the outbox entry of a finished call; anything of the record may be given."""
    numbers = itertools.count(1)

    def make(
        tenant: str = "contoso", charge: int = 20_000, *, charge_id: str = "", origin: str = "", **record: Any
    ) -> CallEntry:
        charge_id = charge_id or f"call-{next(numbers):04d}"
        known = {"kind": "user_out", "invited_ms": 1_000_000, "answered_ms": 1_001_000, "talk_ms": 60_000}
        known |= {"trunk": "pbx", "reason": "COMPLETED", "sip_status": 200}
        whole = CallRecord(charge_id, tenant, **(known | {"charge_micros": charge} | record))
        return CallEntry(charge_id, tenant, charge, whole.encode(), origin or f"0/{charge_id}")

    return make
