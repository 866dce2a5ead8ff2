"""What a simulated gate takes from the machine, and what stands there instead: clocks, the connection, the log."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from tests.simulation.world import World


class Log:
    """Nobody reads what is logged; what it says of an exception is kept in ``faults``: each is a bug."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults

    def exception(self, event: str, **facts: object) -> None:
        self._faults.append(f"{event}: {sys.exception()!r}")

    def __getattr__(self, name: str) -> object:
        return lambda *_, **__: None


@contextmanager
def patched(world: "World") -> Iterator[None]:
    """The simulated clock and connection in place of the two things that a store takes from the machine."""
    with (
        patch("gateway.credit.resp.monotonic", world.loop.time),
        patch("gateway.credit.store.monotonic", world.loop.time),
        patch("gateway.credit.retelling.monotonic", world.loop.time),
        patch("gateway.credit.way.monotonic", world.loop.time),
        patch("gateway.credit.tie.monotonic", world.loop.time),
        patch("gateway.worker.takeover.log", Log(world.faults)),
        patch("gateway.worker.turn.log", Log(world.faults)),
        patch("gateway.credit.tie.open_link", world.open_link),
        patch("gateway.credit.tie.CHECK_S", 0.25),
        patch("gateway.credit.tie.LOOK_EVERY_S", 0.5),
        ExitStack() as patches,
    ):
        clock = SimpleNamespace(
            monotonic=world.loop.time, time=world.server.now_s, time_ns=lambda: int(world.server.now_s() * 1e9)
        )
        for module in (
            "settlement.settler",
            "settlement.rebuild",
            "settlement.outbox",
            "credit.admin",
            "credit.client",
        ):
            patches.enter_context(patch(f"gateway.{module}.time", clock))
        for module in ("settler", "rebuild", "outbox", "gauges"):
            patches.enter_context(patch(f"gateway.settlement.{module}.log", Log(world.faults)))
        asyncio.set_event_loop(None)
        yield
