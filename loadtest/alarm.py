"""A timer of the event loop that is exact to a fraction of a millisecond.

epoll and libuv wait in whole milliseconds, which is as much as the whole set-up delay this package measures.  A Linux
timerfd fires at the nanosecond asked for; elsewhere the loop's own timers serve.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _timerfd() -> tuple[int, ctypes.CDLL] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
    return (fd, libc) if fd >= 0 else None


class Alarm:
    """Calls ``ring`` when the moment set has come, on the clock of ``time.monotonic``; one moment at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._set_at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._kernel = _timerfd()
        if self._kernel is not None:
            loop.add_reader(self._kernel[0], self._fired)

    def set(self, at_s: float | None) -> None:
        """Ring at ``at_s`` (monotonic seconds; a moment gone by rings at once), or not at all where None."""
        if at_s == self._set_at_s:
            return
        self._set_at_s = at_s
        if self._kernel is not None:
            self._set_kernel(at_s)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            self._timer = self._loop.call_later(max(0.0, at_s - time.monotonic()), self._fired)

    def close(self) -> None:
        """Give the kernel's timer back; the alarm never rings again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._kernel is not None:
            self._loop.remove_reader(self._kernel[0])
            os.close(self._kernel[0])
            self._kernel = None

    def _set_kernel(self, at_s: float | None) -> None:
        assert self._kernel is not None
        fd, libc = self._kernel
        # an all-zero value switches the timer off, so the earliest moment that can be set is one nanosecond
        nanoseconds = 0 if at_s is None else max(1, round(at_s * 1e9))
        value = _Timespec(*divmod(nanoseconds, 1_000_000_000))
        spec = _Itimerspec(_Timespec(0, 0), value)
        if libc.timerfd_settime(fd, _ABSOLUTE, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _fired(self) -> None:
        if self._kernel is not None:
            try:
                os.read(self._kernel[0], 8)
            except BlockingIOError:
                return
        self._set_at_s = None
        self._ring()
