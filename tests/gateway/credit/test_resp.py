"""The link to Redis: what leaves in one write, and when, with a transport that only remembers."""

import asyncio
from typing import Any

from gateway.credit.resp import LOST, SOON_S, Link


class Wire:
    """Stands for the connection."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def abort(self) -> None:
        self.writes.append(b"aborted")


def linked() -> tuple[Link, Wire, list[Any]]:
    link, wire, replies = Link(lambda _: None), Wire(), []  # type: ignore[var-annotated]
    link.connection_made(wire)  # type: ignore[arg-type]
    return link, wire, replies


async def test_commands_of_one_turn_leave_as_one_write() -> None:
    link, wire, replies = linked()
    for word in (b"one;", b"two;"):
        link.send(word, lambda subject, reply, _: replies.append((subject, reply)), word)
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [b"one;two;"]
    link.data_received(b"+A\r\n+B\r\n")
    assert replies == [(b"one;", b"A"), (b"two;", b"B")]


async def test_what_nobody_waits_for_goes_with_what_hurries_in_its_order() -> None:
    link, wire, _ = linked()
    link.send_soon(b"settle;", lambda *_: None)
    await asyncio.sleep(0)
    assert wire.writes == []
    link.send(b"reserve;", lambda *_: None)
    link.send_soon(b"release;", lambda *_: None)
    await asyncio.sleep(0)
    assert wire.writes == [b"settle;reserve;release;"]


async def test_what_nobody_waits_for_goes_by_itself_in_the_end() -> None:
    link, wire, _ = linked()
    for word in (b"one;", b"two;"):
        link.send_soon(word, lambda *_: None)
    await asyncio.sleep(10 * SOON_S)
    assert wire.writes == [b"one;two;"]


async def test_a_link_that_is_lost_meanwhile_says_so_for_every_command() -> None:
    link, wire, replies = linked()
    link.send_soon(b"settle;", lambda subject, reply, _: replies.append((subject, reply)), 1)
    link.cut()
    link.send_soon(b"settle;", lambda subject, reply, _: replies.append((subject, reply)), 2)
    await asyncio.sleep(10 * SOON_S)
    assert replies == [(1, LOST), (2, LOST)]
    assert wire.writes == [b"aborted"]
