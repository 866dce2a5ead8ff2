"""redis-py for everything but the hot path: one client, its errors as this room's, the scripts by name.

:func:`connect` makes the client of one node, of the master that sentinels name, or of a cluster; redis-py finds nodes
and signs in to them.  Little else here differs: a command names keys of one partition only, but where it may name more
(:attr:`Client.in_pieces`), and what is asked of no key is asked of every node (:meth:`Client.told`).
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import ExponentialBackoff

from gateway.credit.address import Address, Cluster, Sentinels, Whereabouts, parse_address
from gateway.credit.away import why_away
from gateway.credit.keys import OWNERS_KEY, Keyspace, PartitionKeys, is_open
from gateway.credit.layout import WATCH_S, close_sentinel, make_sentinel, tls_words
from gateway.credit.lua import Script

RETRIES: Final = 2
"""Tries after the first: a pooled connection to a Redis that was restarted fails once, the next is a new one."""

CLUSTER_RETRIES: Final = 5
"""The same in a cluster, over a second and a bit: each asks for the layout first, and nodes hear of a failover one by
one."""

CONNECTIONS_MAX: Final = 16
"""Connections of one process: a settler has its outbox, its sweep and a few commands under way."""


_CLUSTER_AWAY: Final = (exceptions.ClusterError, exceptions.RedisClusterException)
"""The cluster is down, or a part of it, or none of its nodes answers."""


class StoreError(Exception):
    """The credit store could not do it; the text says what was wrong and what to do."""


class StoreUnreachableError(StoreError):
    """Redis cannot be reached, refuses writes, or takes too long: try again later."""


class StoreStaleError(StoreError):
    """The partition's epoch is missing or being rebuilt: nothing may be changed until it is open (MONEY 6)."""


class PartitionsChangedError(StoreError):
    """The number of partitions differs from the one that this Redis was first used with."""


def connect(where: Whereabouts) -> "Redis | RedisCluster":
    """The redis-py client of what a URL names."""
    if isinstance(where, Cluster):
        nodes = [ClusterNode(host, port) for host, port in where.places]
        words = {**_words(where.node), "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), CLUSTER_RETRIES)}
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **words)
    if isinstance(where, Sentinels):
        sentinel = make_sentinel(where)
        return sentinel.master_for(where.service, db=where.node.db, **_words(where.node))  # type: ignore[no-any-return]
    place: dict[str, Any] = {"unix_socket_path": where.path} if where.path else {"host": where.host, "port": where.port}
    return Redis(**place, db=where.db, **_words(where))


def _words(node: Address) -> dict[str, Any]:
    return {
        "username": node.username or None,
        "password": node.password or None,
        "protocol": 2,
        "driver_info": None,  # no CLIENT SETINFO: a command that Redis before 7.2 does not know and no role may give
        "max_connections": CONNECTIONS_MAX,
        "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), RETRIES),
        "retry_on_error": [exceptions.ConnectionError],
        **tls_words(node),
    }


class Client:
    """One process' client: ``redis`` for plain commands, :meth:`call` for scripts, both inside :meth:`asking`."""

    def __init__(self, url: str, partitions: int, timeout_s: float) -> None:
        self._where = parse_address(url)
        self.redis: Any = connect(self._where)
        """A Redis or a RedisCluster: both have the commands that are used here."""
        self._looked_at_s = -math.inf
        self.keys = Keyspace(partitions)
        self.timeout_s = timeout_s
        self._epochs: dict[int, str] = {}
        self.away_at_s = -math.inf
        """Monotonic time at which Redis could not be reached last; never yet: minus infinity."""

    async def close(self) -> None:
        """Close every connection, those to sentinels too."""
        await self.redis.aclose()
        if isinstance(self._where, Cluster):  # its own leaves connections open after one of them has failed
            for nodes in ("nodes_cache", "startup_nodes"):
                await self.redis.nodes_manager.aclose(nodes)
        if isinstance(self._where, Sentinels):
            await close_sentinel(self.redis.connection_pool.sentinel_manager)

    @asynccontextmanager
    async def asking(self, extra_s: float = 0.0) -> AsyncIterator[Any]:
        """Bound the time, and say what Redis says in this room's words.  Raises StoreUnreachableError, StoreError."""
        try:
            async with asyncio.timeout(self.timeout_s + extra_s):
                if isinstance(self._where, Sentinels):
                    await self._look_for_the_master()
                yield self.redis
        except (exceptions.TimeoutError, exceptions.ConnectionError, OSError, *_CLUSTER_AWAY) as error:
            self.away_at_s = time.monotonic()
            raise StoreUnreachableError(why_away(self._where, self._where.tls, error)) from error
        except exceptions.ResponseError as error:
            raise StoreError(f"Redis at {self._where} refused: {error}") from error

    async def _look_for_the_master(self) -> None:
        """Let go of connections to one that is master no more: cut off from its sentinels, it would go on answering."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s >= WATCH_S:
            self._looked_at_s = now_s
            with suppress(
                MasterNotFoundError
            ):  # none is known just now: the one that we have tells whether it is there
                await self.redis.connection_pool.get_master_address()

    async def told(self, section: str) -> list[dict[str, Any]]:
        """What INFO tells of each node that takes writes."""
        if isinstance(self._where, Cluster):
            by_node = await self.redis.info(section, target_nodes=RedisCluster.PRIMARIES)
            return [by_node[name] for name in sorted(by_node)]
        return [await self.redis.info(section)]

    async def now_ms(self) -> int:
        """Redis' clock in Unix milliseconds: in a cluster that of the node that has the claims of workers."""
        if isinstance(self._where, Cluster):
            node = await self._node_of(OWNERS_KEY)
            seconds, micros = await self.redis.time(target_nodes=node)
        else:
            seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _node_of(self, key: str) -> Any:
        await self.redis.initialize()
        return self.redis.get_node_from_key(key)

    def pipeline(self) -> Any:
        """Commands that leave together, each on keys of one partition; in no MULTI."""
        return self.redis.pipeline(transaction=False)

    @property
    def in_pieces(self) -> bool:
        """Keys of two partitions may not stand in one command: a cluster refuses it (CROSSSLOT)."""
        return isinstance(self._where, Cluster)

    async def call(self, script: Script, keys: list[str], args: list[str | bytes | int]) -> list[Any]:
        """Run a script; one that Redis has forgotten is sent whole."""
        try:
            reply = self.redis.evalsha(script.sha, len(keys), *keys, *args)
            return await cast(Awaitable[list[Any]], reply)
        except exceptions.NoScriptError:
            reply = self.redis.eval(script.text, len(keys), *keys, *args)
            return await cast(Awaitable[list[Any]], reply)

    async def look(self, script: Script, keys: list[str], args: list[str | bytes | int]) -> list[Any]:
        """Run a script that only reads, so that a user who may not write these keys may call it too."""
        try:
            reply = self.redis.evalsha_ro(script.sha, len(keys), *keys, *args)
            return await cast(Awaitable[list[Any]], reply)
        except exceptions.NoScriptError:
            reply = self.redis.eval_ro(script.text, len(keys), *keys, *args)
            return await cast(Awaitable[list[Any]], reply)
        except exceptions.ResponseError as error:
            if not str(error).lower().startswith("unknown command"):
                raise
        return await self.call(script, keys, args)  # Redis before 7.0 does not tell reading from writing

    async def call_in(
        self, partition: PartitionKeys, script: Script, keys: list[str], args: list[str | bytes | int]
    ) -> list[Any]:
        """Run a script that is fenced by the partition's epoch.  Raises StoreStaleError where it is not open."""
        for _ in range(2):
            epoch = self._epochs.get(partition.number) or await self._open_epoch(partition)
            reply = await self.call(script, [partition.epoch, *keys], [epoch, *args])
            if reply[0] != b"STALE":
                return reply
            self._epochs.pop(partition.number, None)
        raise StoreStaleError(f"the epoch of partition {partition.number} keeps changing: it is being rebuilt")

    async def _open_epoch(self, partition: PartitionKeys) -> str:
        stored = await cast(Awaitable[bytes | None], self.redis.get(partition.epoch))
        epoch = "" if stored is None else stored.decode()
        if not is_open(epoch):
            state = "is being rebuilt" if epoch else "has no epoch: this Redis is new or has lost its memory"
            raise StoreStaleError(f"partition {partition.number} {state}; wait until the settler has opened it")
        self._epochs[partition.number] = epoch
        return epoch
