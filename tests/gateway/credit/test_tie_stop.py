"""A store ends whatever its tie is doing: a cancellation that meets an outcome may be lost (Python 3.11's wait_for)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

OpenStore = Callable[..., Awaitable[Any]]


async def test_a_store_ends_at_any_moment_of_a_vain_attempt_to_connect(server: Any, open_store: OpenStore) -> None:
    """Stopped after so many turns of the loop, so that every moment of an attempt is met."""
    server.kill()
    for turns in range(60):
        bench = await open_store(server)
        await asyncio.sleep(0.05)  # between two attempts
        for _ in range(turns):
            await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            await bench.store.stop()
    server.start()
