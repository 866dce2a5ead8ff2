"""redis-py for everything but the hot path: one client, its errors as this room's, the scripts by name.

The seam for other set-ups is :func:`connect`: Sentinel, Cluster and TLS are redis-py's to discover and sign in to;
no other line here knows how many nodes there are, but that commands over many keys name keys of one partition only,
or are taken apart into groups of partitions that one node serves (:meth:`Client.groups`).
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from gateway.credit.address import Address, parse_address
from gateway.credit.away import why_away
from gateway.credit.keys import Keyspace, PartitionKeys, is_open
from gateway.credit.lua import Script

RETRIES: Final = 2
"""Tries after the first: a pooled connection to a Redis that was restarted fails once, the next is a new one."""

CONNECTIONS_MAX: Final = 16
"""Connections of one process: a settler has its outbox, its sweep and a few commands under way."""


class StoreError(Exception):
    """The credit store could not do it; the text says what was wrong and what to do."""


class StoreUnreachableError(StoreError):
    """Redis cannot be reached, refuses writes, or takes too long: try again later."""


class StoreStaleError(StoreError):
    """The partition's epoch is missing or being rebuilt: nothing may be changed until it is open (MONEY 6)."""


class PartitionsChangedError(StoreError):
    """The number of partitions differs from the one that this Redis was first used with."""


def connect(address: Address) -> Redis:
    """The redis-py client of an address."""
    where: dict[str, Any] = (
        {"unix_socket_path": address.path} if address.path else {"host": address.host, "port": address.port}
    )
    return Redis(
        **where,
        **_tls_words(address),
        db=address.db,
        username=address.username or None,
        password=address.password or None,
        protocol=2,
        max_connections=CONNECTIONS_MAX,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), RETRIES),
        retry_on_error=[exceptions.ConnectionError],
    )


def _tls_words(address: Address) -> dict[str, Any]:
    """TLS in redis-py's words."""
    tls = address.tls
    if tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": tls.check_hostname,
        "ssl_ca_certs": tls.ca_file or None,
        "ssl_certfile": tls.cert_file or None,
        "ssl_keyfile": tls.key_file or None,
    }


class Client:
    """One process' client: ``redis`` for plain commands, :meth:`call` for scripts, both inside :meth:`asking`."""

    def __init__(self, url: str, partitions: int, timeout_s: float) -> None:
        self._address = parse_address(url)
        self.redis = connect(self._address)
        self.keys = Keyspace(partitions)
        self.timeout_s = timeout_s
        self._epochs: dict[int, str] = {}
        self.away_at_s = -math.inf
        """Monotonic time at which Redis could not be reached last; never yet: minus infinity."""

    @asynccontextmanager
    async def asking(self, extra_s: float = 0.0) -> AsyncIterator[Redis]:
        """Bound the time, and say what Redis says in this room's words.  Raises StoreUnreachableError, StoreError."""
        try:
            async with asyncio.timeout(self.timeout_s + extra_s):
                yield self.redis
        except (exceptions.TimeoutError, exceptions.ConnectionError, OSError) as error:
            self.away_at_s = time.monotonic()
            raise StoreUnreachableError(why_away(self._address, self._address.tls, error)) from error
        except (exceptions.OutOfMemoryError, exceptions.ReadOnlyError, exceptions.ResponseError) as error:
            raise StoreError(f"Redis at {self._address} refused: {error}") from error

    def pipeline(self, *, atomic: bool = False) -> Pipeline:
        """Commands that leave together; ``atomic``: in one MULTI, all keys in one partition."""
        return self.redis.pipeline(transaction=atomic)

    def groups(self) -> list[list[PartitionKeys]]:
        """Partitions whose keys may stand in one command: all of them on a single node."""
        return [self.keys.partitions]

    async def call(self, script: Script, keys: list[str], args: list[str | bytes | int]) -> list[Any]:
        """Run a script; one that Redis has forgotten is sent whole."""
        try:
            reply = self.redis.evalsha(script.sha, len(keys), *keys, *args)
            return await cast(Awaitable[list[Any]], reply)
        except exceptions.NoScriptError:
            reply = self.redis.eval(script.text, len(keys), *keys, *args)
            return await cast(Awaitable[list[Any]], reply)

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
