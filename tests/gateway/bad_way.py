"""A way to a server that can be slow, swallow what is sent, or be cut: a TCP proxy on the test's own loop."""

import asyncio
import contextlib


class BadWay:
    """Passes bytes between a port of its own and another one of 127.0.0.1; change how while it runs."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.delay_s = 0.0
        """How long each piece is under way, in each direction."""
        self.is_cut = False
        self._swallows = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> "BadWay":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def swallow(self, yes: bool) -> None:
        """Take bytes and let none arrive; what was swallowed never comes, so those connections end with it."""
        self._swallows = yes
        if not yes:
            self._abort()

    def cut(self, yes: bool) -> None:
        """End every connection and take no more."""
        self.is_cut = yes
        if yes:
            self._abort()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers |= {writer, back}
            for source, sink in ((reader, back), (there, writer)):
                task = asyncio.create_task(self._pass(source, sink))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not self._swallows:
                    loop.call_later(self.delay_s, sink.write, data)
        loop.call_later(self.delay_s, sink.close)
