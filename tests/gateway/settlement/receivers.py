"""Small peers that play whoever is told: a webhook's server with a mood, and a mail server that takes everything."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope


@dataclass
class Post:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Answers each path by its ``moods``: statuses one after the other, the last one stays.

    0 is silence, -1 a connection that is closed without an answer.
    """

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    moods: dict[str, list[int]] = field(default_factory=dict)
    waiting: int = 0

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def events(self, path: str = "/hook") -> list[str]:
        return [post.document["event"] for post in self.posts if post.path == path]

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        self.posts.append(Post(path.partition("?")[0], headers, body))
        mood = self.moods.get(path, [200])
        status = mood.pop(0) if len(mood) > 1 else mood[0]
        if status <= 0:
            self.waiting += 1
            if status == 0:
                await reader.read()
            return False
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\nLocation: /elsewhere\r\n\r\nok" % status)
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    running = Receiver()
    server = await asyncio.start_server(running.hear, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()


class Mailbox:
    """All mail that was taken, as it would be read."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = 0

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, EmailMessage, policy=default))
        return "250 taken"


@contextlib.asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop, hostname="localhost"), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
