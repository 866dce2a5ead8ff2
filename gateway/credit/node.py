"""One Redis node as a store's tie knows it: where it is, the connection to it, and which partitions it serves."""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.credit.address import Address
from gateway.credit.resp import Link


class Node:
    """``up``: connected, and read from; ``first`` is set once a connection was tried, ``gone`` when one is lost."""

    __slots__ = (
        "address", "first", "gone", "link", "look_at_s", "partitions", "poll_at_s", "run_id", "task", "up",
    )  # fmt: skip

    def __init__(self, address: Address) -> None:
        self.address = address
        self.link: Link | None = None
        self.up = False
        self.first = asyncio.Event()
        self.gone = asyncio.Event()
        self.partitions: set[int] = set()
        self.run_id = ""
        self.task: asyncio.Task[None] | None = None
        self.look_at_s = 0.0
        self.poll_at_s = 0.0


def run_of(told: Mapping[str, Any]) -> str:
    """Which run of Redis answers and which history of writes it has, by what INFO tells.  Raises ConnectionError.

    A server that was a replica meanwhile is the same run, but has thrown away what its new master did not have; its
    history has another name then.
    """
    if "run_id" not in told:
        raise ConnectionError("Redis does not tell its run id: allow the command INFO to this user")
    return f"{told['run_id']} {told.get('master_replid', '')}"
