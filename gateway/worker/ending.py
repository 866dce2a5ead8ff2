"""How a process is asked to end: in order at the first request, at once at the second or when nobody is left to ask."""

import asyncio


class Ending:
    """The wish that a process end; ``drain`` is set by the first request, ``now`` by the second or an orphaning."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()

    def asked(self) -> None:
        """SIGTERM came."""
        if self.drain.is_set():
            self.now.set()
        self.drain.set()

    def orphaned(self) -> None:
        """The supervisor is gone: nobody would restart this process or free its ports, so it ends at once."""
        self.drain.set()
        self.now.set()
