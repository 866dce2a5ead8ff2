"""Everything that is no webhook of ours goes by Apprise: mail, chat, and any other service it knows.

Apprise waits for its services, so each message has a thread of its own.  A thread cannot be ended from outside; so
there are few, one that hangs is waited for no longer than ``limit_s``, and it keeps its place until it is done.  They
are daemons: a service that never answers does not keep the settler from ending.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from gateway.redaction import redact
from gateway.settlement.notify_text import Message
from gateway.settlement.notify_webhook import NotTaken

THREADS: Final = 8
"""Messages on their way by Apprise at once."""

WHY_CHARS: Final = 200
"""Of what Apprise says, so much is kept."""


class AppriseSender:
    """Sends by Apprise, in threads."""

    def __init__(self, limit_s: float) -> None:
        """``limit_s``: how long one message may take."""
        self._limit_s = limit_s
        self._free = asyncio.Semaphore(THREADS)

    async def send(self, url: str, message: Message) -> None:
        """Send a message once.  Raises NotTaken."""
        if not url:
            raise NotTaken("there is no mail gateway: set [notifications] mail")
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        said: list[str] = []

        def work() -> None:
            try:
                said.append(_send(url, message))
            except Exception as error:  # a plugin of Apprise may raise anything
                said.append(redact(f"{type(error).__name__}: {error}".replace(url, "its URL")))
            finally:
                with contextlib.suppress(RuntimeError):  # the loop may be closed by then
                    loop.call_soon_threadsafe(finish)

        def finish() -> None:
            self._free.release()
            done.set()

        try:
            async with asyncio.timeout(self._limit_s):
                await self._free.acquire()
                threading.Thread(target=work, daemon=True, name="apprise").start()
                await done.wait()
        except TimeoutError:
            raise NotTaken(f"no answer within {self._limit_s:g} s") from None
        if said[0]:
            raise NotTaken(said[0][:WHY_CHARS])


def _send(url: str, message: Message) -> str:
    """What went wrong; empty where it was sent.  Blocks."""
    from apprise import Apprise, AppriseAsset, NotifyType  # takes a second and 30 MB: only where it is needed

    asset = AppriseAsset(app_id="Callgate", app_desc="Callgate", app_url="", async_mode=False)
    with _listening() as heard:
        service: Any = Apprise.instantiate(_as_text(url), asset=asset)
        if service is None:
            return "Apprise cannot read the URL"
        sent = service.notify(body=message.body, title=message.subject, notify_type=NotifyType.INFO)
    return "" if sent else redact((heard[-1] if heard else "Apprise could not send it").replace(url, "its URL"))


def _as_text(url: str) -> str:
    """The URL with Apprise's own word for plain text, where it does not say another."""
    if "format=" in url.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in url else '?'}format=text"


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """What Apprise logs in this thread: it says what went wrong nowhere else.  Nothing of it goes on into our log."""
    logger, thread = logging.getLogger("apprise"), threading.get_ident()
    logger.propagate = False
    heard: list[str] = []
    ear = _Ear(thread, heard.append)
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self, thread: int, hear: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._thread, self._hear = thread, hear

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._hear(record.getMessage())
