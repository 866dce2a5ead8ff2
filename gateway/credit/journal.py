"""The journal of talk that goes on uncharged: what is granted without Redis is on the disk first (MONEY 8).

One worker slot writes one file in ``data_dir/exposure``, a line of JSON behind its CRC-32 for each thing that happened
to a call: that it stands there, as Redis would have it; that it got a tick; that it is over.  All lines of a turn are
written and synced together by a thread, one batch at a time, so no call waits for the disk of another; what is to
follow a line follows when its batch is on the disk, or is told that it could not be written.

The next start of the slot reads what was left (:func:`read_journals`).  A last line that is torn was never followed by
anything.  A line that cannot be read among others is passed by, and its file is kept aside when it is done with.  What
the lines mean is ``onward``'s to know.
"""

import asyncio
import json
import os
from binascii import crc32
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

from gateway.credit.charge_file import HEAD_BYTES_MAX, sync_folder

FOLDER: Final = "exposure"
SUFFIX: Final = ".journal"

FORMAT: Final = 1
"""Raised where an older release could not read a file."""

BYTES_MAX: Final = 128 * 1024 * 1024
"""What the files of one owner may hold: 20,000 live calls (sip.max_calls), each standing there twice (1.5 kB), with
fifteen ticks (0.2 kB) and its end, and read at a start in some three seconds.  Beyond it nothing more is granted."""

WAITING_MAX: Final = 40_000
"""Lines that wait for the disk: twice sip.max_calls, for a call waits with one, and at its end with another."""

Row = dict[str, Any]
Then = Callable[[bool], None]


@dataclass(slots=True)
class Read:
    """One file as it was found; ``bad`` counts lines among the others that are not as they were written."""

    path: Path
    rows: list[Row]
    length: int
    bad: int


def owners_in(data_dir: Path) -> set[str]:
    """Everybody, ``node/slot``, who left a journal; files that cannot be read are passed by."""
    found = {_owner_of(path) for path in _files_in(data_dir)}
    return {owner for owner in found if owner}


def read_journals(data_dir: Path, owner: str) -> list[Read]:
    """The files that earlier starts of ``owner`` left, oldest first.  Raises OSError."""
    paths = [path for path in _files_in(data_dir) if _owner_of(path) == owner]
    return [_read(path) for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)]


def _files_in(data_dir: Path) -> list[Path]:
    return sorted((data_dir / FOLDER).glob(f"*{SUFFIX}"))


def _owner_of(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
        head = _parse(file.readline(HEAD_BYTES_MAX))
        if head is not None and head["format"] == FORMAT:
            return str(head["owner"])
    return ""


def _read(path: Path) -> Read:
    data = path.read_bytes()
    lines = data.split(b"\n")
    torn = lines.pop()  # what is behind the last line's end: nothing, or a line that was being written
    rows = [_parse(line) for line in lines[1:]]
    while rows and rows[-1] is None:  # blocks of a batch may reach the disk in any order
        rows.pop()
    good = [row for row in rows if row is not None]
    return Read(path, good, len(data) - len(torn), len(rows) - len(good))


def _line(row: Row) -> bytes:
    text = json.dumps(row, separators=(",", ":")).encode("ascii")
    return b"%08x %b\n" % (crc32(text), text)


def _parse(line: bytes) -> Row | None:
    """A line's row; None where it is not as it was written."""
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    if crc != b"%08x" % crc32(text):
        return None
    with suppress(ValueError):
        row = json.loads(text)
        return row if isinstance(row, dict) else None
    return None


def _write_whole(file: BinaryIO, data: bytes) -> None:
    """An unbuffered file takes a part of what does not fit, and says how much; the next part then raises why."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class JournalFile:
    """The file that one start of an owner writes; every method may wait for the disk, and raises OSError."""

    def __init__(self, data_dir: Path, owner: str) -> None:
        self._data_dir, self._owner = data_dir, owner
        self._file: BinaryIO | None = None
        self.path: Path | None = None
        self.length = 0

    def append(self, data: bytes) -> None:
        """Write lines, whole and on the disk when this returns; where it raises, the file is as it was before."""
        file = self._file if self._file is not None else self._open()
        try:
            _write_whole(file, data)
            os.fdatasync(file.fileno())
        except OSError:
            self._give_back(file)
            raise
        self.length += len(data)

    def _open(self) -> BinaryIO:
        folder = self._data_dir / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{self._owner.rpartition('/')[2]}-{uuid4().hex}{SUFFIX}"
        head = _line({"format": FORMAT, "owner": self._owner})
        file = path.open("wb", buffering=0)
        try:
            _write_whole(file, head)
            os.fdatasync(file.fileno())
            for each in (folder, self._data_dir):
                sync_folder(each)
        except OSError:
            file.close()
            with suppress(OSError):
                path.unlink()
            raise
        self._file, self.path, self.length = file, path, len(head)
        return file

    def _give_back(self, file: BinaryIO) -> None:
        """Cut off what was written in part; a file that cannot be cut gets no more lines, a new one is begun."""
        try:
            file.truncate(self.length)
            file.seek(self.length)
        except OSError:
            with suppress(OSError):
                file.close()
            self._file = None

    def remove(self) -> None:
        """Nothing of it is needed any more: the next line begins a new file."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.path, self.length = None, 0

    def close(self) -> None:
        """Leave it for the next start."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


class Journal:
    """Writes lines off the loop; ``failed(text)`` is told when a batch could not be written."""

    def __init__(self, data_dir: Path | None, owner: str, failed: Callable[[str], None]) -> None:
        self._file = JournalFile(data_dir, owner) if data_dir is not None else None
        self._failed = failed
        self._left: list[Read] = []
        self._waiting: list[tuple[bytes, Then]] = []
        self._writing: asyncio.Future[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._begun = False

    @property
    def usable(self) -> bool:
        """There is a folder to write to, and not too much waits or stands there already."""
        return self._file is not None and len(self._waiting) < WAITING_MAX and self._bytes < BYTES_MAX

    @property
    def stands(self) -> bool:
        """There is a file, of this start or an older one."""
        return bool(self._left) or (self._file is not None and self._file.path is not None)

    @property
    def idle(self) -> bool:
        """No line waits for the disk."""
        return not self._waiting and self._writing is None

    @property
    def _bytes(self) -> int:
        return (0 if self._file is None else self._file.length) + sum(read.length for read in self._left)

    def inherit(self, left: list[Read]) -> None:
        """These files of older starts go with this one's."""
        self._left = left

    def write(self, row: Row, then: Then) -> None:
        """Have a line on the disk; ``then(written)`` is called in a later turn."""
        if not self.usable:
            asyncio.get_running_loop().call_soon(then, False)
            return
        self._waiting.append((_line(row), then))
        if not self._begun and self._writing is None:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._begun = False
        batch, self._waiting = self._waiting, []
        if not batch or self._file is None:
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "journal")
        data = b"".join(line for line, _ in batch)
        self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._file.append, data)
        self._writing.add_done_callback(lambda written: self._end(written, [then for _, then in batch]))

    def _end(self, written: "asyncio.Future[None]", thens: list[Then]) -> None:
        self._writing = None
        error = written.exception()
        if error is not None:
            self._failed(f"{len(thens)} lines could not be written: {error}")
        for then in thens:
            then(error is None)
        if self._waiting and not self._begun:
            self._begin()

    def remove(self) -> None:
        """Redis has all of it: the files go; one with bad lines is set aside instead.  Raises OSError.

        Only while it is ``idle``.
        """
        if self._file is not None:
            self._file.remove()
        while self._left:
            read = self._left[-1]
            if read.bad:
                read.path.rename(read.path.with_suffix(".broken"))
            else:
                read.path.unlink(missing_ok=True)
            self._left.pop()

    async def stop(self) -> None:
        """Write what waits, and leave the file for the next start."""
        while not self.idle:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            await asyncio.sleep(0)
        if self._thread is not None:
            self._thread.shutdown()
        if self._file is not None:
            self._file.close()
