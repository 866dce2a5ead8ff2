"""Where the settler's redis-py stands in a simulation: the same few methods, over the simulated Redis and a cable.

Each command or pipeline takes the cable's time, fails as redis-py does where Redis is down, and waits where it hangs;
``gateway.credit.client`` above it is the real one.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from hiredis import ReplyError
from redis import exceptions

from gateway.credit.address import parse_address
from gateway.credit.client import Client
from gateway.credit.keys import Keyspace
from gateway.credit.orders import Order, decode_order
from tests.simulation.network import Cable

ORDERS = b"cg:orders:"


class SimCommands:
    """redis-py's client; orders to workers are taken out on their way and ``deliver``-ed."""

    def __init__(self, cable: Cable, deliver: Callable[[str, Order], None]) -> None:
        self._cable, self._deliver = cable, deliver

    async def _ask_all(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        await asyncio.sleep(self._cable.delay_s)
        while self._cable.hangs:
            await asyncio.sleep(0.05)
        if not self._cable.up:
            raise exceptions.ConnectionError("the simulated Redis is down")
        return [self._shaped(words, self._ask(words)) for words in commands]

    def _ask(self, words: tuple[Any, ...]) -> Any:
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        if encoded[0] == b"XADD" and encoded[1].startswith(ORDERS):
            fields = [word.decode() for word in encoded[encoded.index(b"*") + 1 :]]
            order = decode_order(dict(zip(fields[::2], fields[1::2], strict=True)))
            assert order is not None
            self._deliver(encoded[1].removeprefix(ORDERS).decode(), order)
            return b"1-0"
        return self._cable.server.ask(encoded)

    @staticmethod
    def _shaped(words: tuple[Any, ...], reply: Any) -> Any:
        if isinstance(reply, ReplyError):
            if str(reply).startswith("NOSCRIPT"):
                raise exceptions.NoScriptError(str(reply))
            raise exceptions.ResponseError(str(reply))
        if words[0] == "XRANGE":
            return [(entry_id, dict(zip(some[::2], some[1::2], strict=True))) for entry_id, some in reply]
        if words[0] == "HGETALL":
            return dict(zip(reply[::2], reply[1::2], strict=True))
        return reply

    async def execute_command(self, *words: Any) -> Any:
        return (await self._ask_all([words]))[0]

    async def evalsha(self, *words: Any) -> Any:
        return await self.execute_command("EVALSHA", *words)

    async def eval(self, *words: Any) -> Any:
        return await self.execute_command("EVAL", *words)

    async def evalsha_ro(self, *words: Any) -> Any:
        return await self.execute_command("EVALSHA", *words)

    async def eval_ro(self, *words: Any) -> Any:
        return await self.execute_command("EVAL", *words)

    async def script_load(self, text: str) -> Any:
        return await self.execute_command("SCRIPT", "LOAD", text)

    async def get(self, key: str) -> Any:
        return await self.execute_command("GET", key)

    async def hgetall(self, key: str) -> Any:
        return await self.execute_command("HGETALL", key)

    async def smembers(self, key: str) -> Any:
        return await self.execute_command("SMEMBERS", key)

    async def srem(self, key: str, *members: Any) -> Any:
        return await self.execute_command("SREM", key, *members)

    async def info(self, _section: str) -> dict[str, Any]:
        await self._ask_all([])
        server = self._cable.server
        return server.info()

    async def time(self) -> tuple[int, int]:
        await self._ask_all([])
        now_us = int(self._cable.server.now_s() * 1e6)
        return now_us // 1_000_000, now_us % 1_000_000

    async def xread(self, places: dict[str, str], count: int, block: int | None = None) -> list[Any]:
        await self._ask_all([])
        data, found = self._cable.server.data, []
        for key in places:
            if entries := data.get(key.encode(), [])[:count]:
                found.append([key.encode(), [(b"%d-0" % number, entry) for number, entry in entries]])
        return found

    def pipeline(self, transaction: bool = False) -> "SimPipeline":
        return SimPipeline(self)

    async def set(self, key: str, value: Any, nx: bool = False) -> Any:
        return await self.execute_command("SETNX" if nx else "SET", key, value)

    async def aclose(self) -> None:
        """Nothing is open."""


class SimPipeline:
    """Commands that leave together."""

    def __init__(self, commands: SimCommands) -> None:
        self._commands = commands
        self._waiting: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> None:
        self._waiting.append(words)

    async def execute(self) -> list[Any]:
        return await self._commands._ask_all(self._waiting) if self._waiting else []


class SimClient(Client):
    """The settler's client, with the simulation's commands in redis-py's place."""

    def __init__(self, commands: SimCommands, partitions: int, timeout_s: float) -> None:
        self._where = parse_address("redis://10.0.0.9:6379")
        self._looked_at_s = -math.inf
        self.redis = commands
        self.keys = Keyspace(partitions)
        self.timeout_s = timeout_s
        self._epochs = {}
        self.away_at_s = -math.inf
