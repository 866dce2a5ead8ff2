"""Which Redis nodes there are, and which of them serves what: one node, the master of a service, or a cluster.

A layout is found anew where a connection is lost, where a node says that it is the wrong one, and now and then: a
master that was cut off from its sentinels goes on answering, and what is written to it is lost.  redis-py asks
sentinels and nodes; nothing here is on the hot path.

All are asked, and those are believed that have seen the newest configuration (its epoch rises with each failover): a
sentinel or node that is cut off from the others has an old map.  Whoever connects to a master that sentinels named asks
it whether it is one (``must_be_master``).
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.credit.address import Address, Cluster, Place, Sentinels, Whereabouts
from gateway.credit.keys import slot_of

ASK_S: Final = 0.3
"""How long one sentinel or node is waited for: two that hang still leave time for a third within a second."""

WATCH_S: Final = 1.0
"""How often a layout that may change is looked at while nothing seems wrong: as quickly as a hung Redis is noticed."""

NODES_MAX: Final = 1000
"""Nodes of a cluster that are remembered as places to ask: as many as Redis Cluster is made for."""


class LayoutError(ConnectionError):
    """Nobody who was asked knows the layout; the text says whom, and what they said."""


@dataclass(frozen=True, slots=True)
class Layout:
    """``nodes``, and the number of the node that serves each slot; no slots: the only node serves all."""

    nodes: tuple[Address, ...]
    slots: Mapping[int, int] | None = None

    def node_of(self, key: str) -> int | None:
        """The number of the node that serves a key; None where nobody does."""
        return 0 if self.slots is None else self.slots.get(slot_of(key))


class Finder(Protocol):
    """Finds the layout; ``fixed`` is one that never changes."""

    fixed: Layout | None
    must_be_master: bool

    async def find(self) -> Layout:
        """The layout as it is now.  Raises LayoutError, OSError, or RedisError."""

    async def close(self) -> None:
        """Close connections."""


def make_finder(where: Whereabouts) -> Finder:
    """The one for a URL's whereabouts."""
    if isinstance(where, Sentinels):
        return SentinelFinder(where)
    return ClusterFinder(where) if isinstance(where, Cluster) else OneNode(where)


class OneNode:
    """There is one node."""

    must_be_master = False

    def __init__(self, address: Address) -> None:
        self.fixed: Layout | None = Layout((address,))
        self._layout = self.fixed

    async def find(self) -> Layout:
        """It."""
        return self._layout

    async def close(self) -> None:
        """There is nothing to close."""


def tls_words(address: Address) -> dict[str, Any]:
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


def _asking_words(address: Address, username: str, password: str) -> dict[str, Any]:
    """How a sentinel or node is asked: once, and not for long."""
    return {
        "username": username or None,
        "password": password or None,
        "socket_timeout": ASK_S,
        "socket_connect_timeout": ASK_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,  # as in client: no role may give CLIENT SETINFO
        **tls_words(address),
    }


class NewestSentinel(Sentinel):
    """redis-py's, which believes the first sentinel that answers; this one all that saw the latest failover."""

    async def discover_master(self, service_name: str) -> Place:
        """Host and port of the master.  Raises MasterNotFoundError."""
        answers = await asyncio.gather(*(each.sentinel_masters() for each in self.sentinels), return_exceptions=True)
        states = [answer[service_name] for answer in answers if isinstance(answer, dict) and service_name in answer]
        newest = max((state["config-epoch"] for state in states), default=0)
        for state in states:
            if state["config-epoch"] == newest and self.check_master_state(state, service_name):
                return str(state["ip"]), int(state["port"])
        if states:
            raise MasterNotFoundError(f"the master of {service_name} is down, and none has taken its place yet")
        if any(isinstance(answer, dict) for answer in answers):
            raise MasterNotFoundError(f"those that answer watch no service named {service_name}")
        raise MasterNotFoundError("; ".join(sorted({str(answer) for answer in answers})))


def make_sentinel(where: Sentinels, **node_words: Any) -> NewestSentinel:
    """redis-py's view of the sentinels; ``node_words`` are for the connections to the master."""
    words = _asking_words(where.node, where.username, where.password)
    return NewestSentinel(list(where.places), sentinel_kwargs=words, **node_words)  # type: ignore[no-untyped-call]


async def close_sentinel(sentinel: Sentinel) -> None:
    """Close the connections to the sentinels."""
    for each in sentinel.sentinels:
        with suppress(RedisError, OSError):
            await each.aclose()


class SentinelFinder:
    """The master of a service."""

    fixed: Layout | None = None
    must_be_master = True

    def __init__(self, where: Sentinels) -> None:
        self._where = where
        self._sentinel = make_sentinel(where)

    async def find(self) -> Layout:
        """The master that those sentinels name which saw the latest failover."""
        try:
            place = await self._sentinel.discover_master(self._where.service)
        except RedisError as error:
            raise LayoutError(f"{self._where}: {error}") from error
        return Layout((self._where.node.at(*place),))

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        await close_sentinel(self._sentinel)


class ClusterFinder:
    """The primaries of a cluster."""

    fixed: Layout | None = None
    must_be_master = False  # a replica says MOVED

    def __init__(self, where: Cluster) -> None:
        self._where = where
        self._known: tuple[Place, ...] = ()
        self._clients: dict[Place, Redis] = {}

    async def find(self) -> Layout:
        """As the node has it that has seen the newest configuration."""
        places = list(dict.fromkeys((*self._known, *self._where.places)))[:NODES_MAX]
        answers = await asyncio.gather(*map(self._ask, places), return_exceptions=True)
        maps = [answer for answer in answers if isinstance(answer, _Map)]
        if not maps:
            why = next((str(each) for each in answers if isinstance(each, BaseException)), "")
            raise LayoutError(f"no node of {self._where} tells of the cluster ({why})")
        newest = max(maps, key=lambda each: (each.is_ok, each.epoch))
        self._known = tuple(dict.fromkeys(place for _, _, *served in newest.ranges for place in served))
        await self._forget(set(places) - {*self._known, *self._where.places})
        return self._layout(newest)

    def _layout(self, newest: "_Map") -> Layout:
        numbers: dict[Place, int] = {}
        slots: dict[int, int] = {}
        for first, last, primary, *_ in sorted(newest.ranges):
            number = numbers.setdefault(primary, len(numbers))
            slots.update(dict.fromkeys(range(first, last + 1), number))
        return Layout(tuple(self._where.node.at(*place) for place in numbers), slots)

    async def _ask(self, place: Place) -> "_Map":
        """What one node knows.  Raises OSError or RedisError, also where it is no cluster's."""
        host, port = place
        if place not in self._clients:
            node = self._where.node
            words = _asking_words(node, node.username, node.password)
            self._clients[place] = Redis(host=host, port=port, **words)
            self._clients[place].set_response_callback("CLUSTER SLOTS", _as_it_is)  # type: ignore[arg-type]
        client = self._clients[place]
        told: Any = await client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
        ranges: Any = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        return _Map(
            told["cluster_state"] == "ok",
            int(told["cluster_current_epoch"]),
            [(first, last, *(_place(each, host) for each in served)) for first, last, *served in ranges],
        )

    async def _forget(self, places: set[Place]) -> None:
        for place in places:
            client = self._clients.pop(place, None)
            if client is not None:
                with suppress(RedisError, OSError):
                    await client.aclose()

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._forget(set(self._clients))


@dataclass(frozen=True, slots=True)
class _Map:
    """A node's view: whether the cluster is whole, its epoch, and by range of slots the primary, then replicas."""

    is_ok: bool
    epoch: int
    ranges: list[Any]


def _as_it_is(reply: Any, **_options: Any) -> Any:
    """Versions of redis-py differ in what they make of it."""
    return reply


def _place(told: Any, asked: str) -> Place:
    """A node as one tells of it; an empty name is that of the one who was asked."""
    name, port = told[:2]
    return (name or b"").decode() or asked, int(port)
