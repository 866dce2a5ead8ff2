"""The wire between gate and PostgreSQL, as a Unix socket of the test's own: it can be slow, go silent, or break at a
chosen word."""

import asyncio
import contextlib
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
CHUNK = 65_536


class Wire:
    """Carries bytes both ways between clients of ``folder`` and the server whose socket is in ``server``."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server = folder, server
        self.delay_s = 0.0
        self.break_at = b""
        """Once the client has sent this, it reaches the server, but the client hears no more of it."""
        self.broken = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Wire":
        self._listener = await asyncio.start_unix_server(self._join, self.folder / SOCKET)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fall_silent(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._flowing.clear()

    def flow(self) -> None:
        """All goes on."""
        self._flowing.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_unix_connection(self._server / SOCKET)
            back = asyncio.create_task(self._carry(far_reader, writer))
            going = [back, asyncio.create_task(self._carry(reader, far_writer, back))]
            try:
                await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0.05)  # what is on its way arrives
            finally:
                for way in going:
                    way.cancel()
                await asyncio.gather(*going, return_exceptions=True)
                far_writer.close()
        writer.close()
        self._tasks.discard(task)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.Task[None] | None = None
    ) -> None:
        """One way; ``back`` is the other one, seen from the client's."""
        while data := await reader.read(CHUNK):
            await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            breaks = back is not None and self.break_at and self.break_at in data
            if back is not None and breaks:
                self.broken, self.break_at = self.broken + 1, b""
                back.cancel()
            writer.write(data)
            await writer.drain()
