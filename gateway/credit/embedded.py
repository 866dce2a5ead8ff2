"""The Redis server that the gate brings along: found, started on a Unix socket in the data folder, kept alive."""

from pathlib import Path


class EmbeddedError(Exception):
    """The embedded server cannot run; the text says why and what to do."""


class EmbeddedRedis:
    """One Redis or Valkey server in a data folder; it outlives the process that started it, and is taken over by the next."""

    def __init__(self, data_dir: Path) -> None:
        raise NotImplementedError

    @property
    def url(self) -> str:
        """``unix://…`` of its socket; known before it runs."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """Process id of the server that answered last; None before ``ensure``."""
        raise NotImplementedError

    async def ensure(self) -> bool:
        """See that a server answers: take over one that lives, else start one.  Returns True where one was started."""
        raise NotImplementedError

    async def wait_dead(self) -> None:
        """Return when the server has gone away: noticed at once, without polling."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the server in order, its append-only file written out."""
        raise NotImplementedError
