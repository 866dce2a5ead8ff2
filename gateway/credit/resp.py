"""One connection to one Redis node: commands leave in one write per event-loop turn, replies come back in their order.

Redis answers in the order it was asked, so a queue of what was asked is all that is needed to know whose reply a
reply is: no future, task or lock per command, only a callback (ANCHORS: 5 µs a command against 40).  hiredis' Reader
takes the bytes apart.

Time limits work the same way: the oldest unanswered command is the one that waits longest, and one that waits too
long means that Redis hangs, for no later reply can overtake it.  Whoever owns the link looks at :attr:`Link.oldest`
now and then and cuts the link; everything unanswered then fails at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast

from hiredis import HiredisError, Reader, ReplyError, pack_command

from gateway.credit.address import Address

OnReply = Callable[[Any, Any, float], None]
"""Called with what was asked about, the reply (LOST: none will come), and how long it took in seconds."""

Word = str | bytes | int

pack: Final = cast(Callable[[tuple[Word, ...]], bytes], pack_command)
"""A command as Redis reads it, in bytes (hiredis' own annotation allows one word only)."""

Waiting = tuple[OnReply, Any, float]
"""An unanswered command: whom to call, what with, and the monotonic moment at which it was given."""

LOST: Final = object()
"""Stands for the reply that a lost link does not give any more; whether the command was carried out is not known."""

WAITING_MAX: Final = 50_000
"""Unanswered commands of one link: ten seconds of 2,000 calls/s with ticks.  Redis has long been cut off by then
(one second), so more would only be memory."""

SOON_S: Final = 0.002
"""How long a command that nobody waits for may wait for company: with a few hundred calls a second it nearly always
leaves with another one, which saves both ends a system call each way.  Far below what a caller could notice in a
balance, and far below the seconds that a worker keeps what it said."""

_MORE: Final = object()
"""What the Reader says when a reply is not whole yet."""


class Link(asyncio.Protocol):
    """A connection; made by :func:`open_link`, gone for good when lost."""

    __slots__ = (
        "_flushing", "_loop", "_on_lost", "_out", "_reader", "_soon", "_transport", "_waiting", "heard_at", "lost",
        "why",
    )  # fmt: skip

    def __init__(self, on_lost: Callable[["Link"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._reader = Reader(notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._flushing = False
        self._soon = False
        self._waiting: deque[Waiting] = deque()
        self.heard_at = monotonic()
        """When the node was heard last, in monotonic seconds; uvloop's own time moves in milliseconds, too coarsely for
        a round trip."""
        self.lost = False
        self.why: Exception | None = None
        """What the connection was lost by, where that is known."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: the connection stands."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it

    @property
    def oldest(self) -> Waiting | None:
        """The oldest unanswered command; None where everything is answered."""
        return self._waiting[0] if self._waiting else None

    @property
    def crowded(self) -> bool:
        """As many commands wait as may wait: send no more."""
        return len(self._waiting) >= WAITING_MAX

    def send(self, packed: bytes, on_reply: OnReply, subject: Any = None) -> None:
        """Send one packed command with this turn's others; a lost link answers LOST at once."""
        if self.lost:
            on_reply(subject, LOST, 0.0)
            return
        self._waiting.append((on_reply, subject, monotonic()))
        self._out.append(packed)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._write)

    def send_soon(self, packed: bytes, on_reply: OnReply, subject: Any = None) -> None:
        """Send one packed command, in its order, with the next one that hurries, at most SOON_S from now."""
        if self.lost or self._flushing:
            self.send(packed, on_reply, subject)
            return
        self._waiting.append((on_reply, subject, monotonic()))
        self._out.append(packed)
        if not self._soon:
            self._soon = True
            self._loop.call_later(SOON_S, self._flush_rest)

    async def ask(self, *words: Word) -> Any:
        """Send a command and wait for its reply: for the few of a handshake.  Raises ConnectionError, ReplyError."""
        answer: asyncio.Future[Any] = self._loop.create_future()

        def on_reply(_subject: Any, reply: Any, _seconds: float) -> None:
            if answer.done():
                return
            if reply is LOST:
                error = ConnectionError("the connection was lost")
                error.__cause__ = self.why
                answer.set_exception(error)
            elif isinstance(reply, ReplyError):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

        self.send(pack(words), on_reply)
        return await answer

    def _flush_rest(self) -> None:
        self._soon = False
        self._write()

    def _write(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None and not self.lost:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes came; give each whole reply to whoever asked."""
        reader, waiting, now = self._reader, self._waiting, monotonic()
        self.heard_at = now
        reader.feed(data)
        while not self.lost:
            try:
                reply = reader.gets()
            except HiredisError:
                self.cut()
                return
            if reply is _MORE:
                return
            if not waiting:
                self.cut()
                return
            on_reply, subject, sent_at = waiting.popleft()
            on_reply(subject, reply, now - sent_at)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: the connection is gone."""
        self.why = exc
        self.cut()

    def cut(self) -> None:
        """Give the connection up: what is unanswered fails now, in order, and the owner hears of it.  Once."""
        if self.lost:
            return
        self.lost = True
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            on_reply, subject, _sent_at = self._waiting.popleft()
            on_reply(subject, LOST, 0.0)
        self._on_lost(self)


OnLost = Callable[[Link], None]


async def open_link(address: Address, on_lost: OnLost, make: Callable[[OnLost], Link] = Link) -> Link:
    """Connect (by TLS: once the server's certificate is found good), sign in, choose the database.

    Raises OSError or ReplyError.
    """
    loop = asyncio.get_running_loop()
    if address.path:
        _, link = await loop.create_unix_connection(lambda: make(on_lost), address.path)
    else:
        tls = address.tls.context() if address.tls else None
        _, link = await loop.create_connection(lambda: make(on_lost), address.host, address.port, ssl=tls)
    try:
        if address.password:
            await link.ask("AUTH", *((address.username,) if address.username else ()), address.password)
        if address.db:
            await link.ask("SELECT", address.db)
    except BaseException:
        link.cut()
        raise
    return link
