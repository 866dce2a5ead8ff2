"""A real gate and real peers for whole-process tests: all of it from outside, by the harness the benchmark uses."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children, free_port
from loadtest.wire import Address

PBX = "127.0.0.2"
CARRIER = "127.0.0.3"

DECK = (
    "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n"
    "44,United Kingdom,60000,0,1,1\n"
    "1,United States,60000,0,60,60\n"
)
"""+44: 1,000 micros for each second, billed by the second; +1: 60,000 micros for each started minute."""


def tenants(*names: str, **keys: str) -> str:
    """A provisioning file: tenants without licences on one deck, each with a user whose number is its own."""
    rows = ['[[rate_deck]]\nname = "standard"\ncurrency = "USD"\nfile = "deck.csv"\n']
    for index, name in enumerate(names):
        more = "\n".join(f"{key} = {value}" for key, value in keys.items())
        rows.append(
            f'[[tenant]]\nid = "{name}"\nname = "{name}"\nrate_deck = "standard"\nlicensing = "none"\n{more}\n'
            f'[[tenant.user]]\nid = "u@{name}"\nnumber = "+14255550{index:03d}"\n'
        )
    return "\n".join(rows)


@pytest.fixture
def books() -> tuple[Callable[..., str], str]:
    """What a test provisions that makes its gate itself: :func:`tenants` and the deck."""
    return tenants, DECK


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


@pytest.fixture
def carrier() -> Address:
    return Address(CARRIER, free_port(CARRIER))


@pytest.fixture
def make_gate(children: Children, tmp_path: Path, carrier: Address) -> Callable[..., Gate]:
    """Makes a gate between a PBX at 127.0.0.2 and a carrier at 127.0.0.3; not started yet."""

    def make(
        *names: str, funds: str = "10", workers: int = 1, own_redis: bool = True, keys: dict[str, str] | None = None,
        sections: dict[str, str] | None = None, trunks: Trunks | None = None,
    ) -> Gate:  # fmt: skip
        access = 'tenant_from = "caller"' if len(names) != 1 else f'tenant = "{names[0]}"'
        chosen = trunks or Trunks([PBX], [CARRIER], [f"sip:{carrier}"], access_lines=access)
        folder = tmp_path / "gate"
        gate = Gate(children, folder, chosen, sections=sections or {}, own_redis=own_redis, workers=workers)
        if own_redis:
            gate.start_redis()
        gate.provision(tenants(*names, **(keys or {})), DECK, [(name, funds) for name in names])
        return gate

    return make
