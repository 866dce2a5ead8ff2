"""The heads of the hash chains, kept outside the database: one signed file a day (MONEY 4).

A chain proves every line before its head, but not its head: whoever can write the tables can cut off the tail, or make
all lines anew with hashes that match.  So each day the head of every tenant, its last line's number and hash, is
written to a file in ``data_dir/ledger-heads``, signed with HMAC-SHA256 under a key that only the gate's user reads
(``data_dir/ledger-heads.key``, mode 0600).  What the ledger held when a file was written is then proved by the file;
what came after the newest one is not yet.  A file also names the digest of the one before it, so that none can be
taken from between.  Whoever can write both the database and the data folder can forge everything: copy the files to
where he cannot, and they still prove.

A file is text: one JSON line about itself, one for each tenant in the order of their ids, and the signature of all
before it.  Days are UTC.
"""

import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import Final

from gateway.ledger.entries import Head

FOLDER: Final = "ledger-heads"
KEY_FILE: Final = "ledger-heads.key"
SUFFIX: Final = ".heads"
SIGNATURE: Final = "hmac-sha256 "

KEY_BYTES: Final = 32
"""As many as the hash has; more would be hashed down to it."""

KEPT_FILES: Final = 92
"""Three months of days.  The newest file proves every line up to its own; older ones say since when a line is gone."""


class HeadsError(Exception):
    """A file of heads, or the key, cannot be used; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One file of heads: its ``day``, the digest of the file before it, and its own."""

    day: str
    previous: str
    digest: str
    heads: tuple[Head, ...]


class HeadFiles:
    """The files of one data folder.  Methods read and write files; they raise OSError and HeadsError."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER
        self._key_file = data_dir / KEY_FILE

    def days(self) -> list[str]:
        """The days of the files that are there, in order."""
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def is_due(self, now_ms: int) -> bool:
        """Whether the day has no file yet."""
        return not self._path(_day(now_ms)).exists()

    def write(self, heads: Iterable[Head], now_ms: int) -> None:
        """Keep the heads of the day, whole or not at all; the oldest file beyond KEPT_FILES goes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        days, day = self.days(), _day(now_ms)
        previous = _digest(self._path(days[-1]).read_bytes()) if days else ""
        lines: list[dict[str, str | int]] = [{"day": day, "previous": previous}]
        lines += [{"tenant": each.tenant_id, "seq": each.seq, "hash": each.hash.hex()} for each in heads]
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        _put(self._path(day), text + f"{SIGNATURE}{self._sign(text)}\n".encode())
        for old in [*days, day][:-KEPT_FILES]:
            self._path(old).unlink(missing_ok=True)

    def read(self, day: str, tenant_ids: Collection[str] | None = None) -> KeptFile:
        """The file of a day with the heads of these tenants (None: all), its signature checked."""
        path = self._path(day)
        whole = path.read_bytes()
        text, _, signature = whole.rpartition(SIGNATURE.encode())
        if not hmac.compare_digest(signature.strip(), self._sign(text, make=False).encode()):
            raise HeadsError(f"{path} is not as the gate wrote it: its signature is wrong; compare it with a copy")
        about, *lines = map(json.loads, text.splitlines())
        wanted = (line for line in lines if tenant_ids is None or line["tenant"] in tenant_ids)
        heads = tuple(Head(line["tenant"], line["seq"], bytes.fromhex(line["hash"])) for line in wanted)
        return KeptFile(about["day"], about["previous"], _digest(whole), heads)

    def read_all(self, tenant_ids: Collection[str] | None = None) -> Iterator[KeptFile]:
        """Every file in order, each checked to follow the one before it."""
        before: KeptFile | None = None
        for day in self.days():
            file = self.read(day, tenant_ids)
            if file.day != day or (before and file.previous != before.digest):
                raise HeadsError(f"{self._path(day)} does not follow the file before it; compare them with a copy")
            before = file
            yield file

    def _path(self, day: str) -> Path:
        return self.folder / f"{day}{SUFFIX}"

    def _sign(self, text: bytes, *, make: bool = True) -> str:
        return hmac.new(self._key(make), text, sha256).hexdigest()

    def _key(self, make: bool) -> bytes:
        """The key; made at the first file, never where files are there that another one has signed."""
        if make and not self.days():
            with contextlib.suppress(FileExistsError):
                _make_key(self._key_file)
        try:
            return bytes.fromhex(self._key_file.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise HeadsError(
                f"{self._key_file} cannot be read ({error}); put it back from a backup, or move {self.folder} away"
            ) from error


def kept_hashes(files: Iterable[KeptFile]) -> dict[str, dict[int, tuple[bytes, str]]]:
    """By tenant and line number: the hash that was kept, and the first day on which it was."""
    found: dict[str, dict[int, tuple[bytes, str]]] = {}
    for file in files:
        for head in file.heads:
            found.setdefault(head.tenant_id, {}).setdefault(head.seq, (head.hash, file.day))
    return found


def _day(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all, readable by its owner only.  Raises FileExistsError where there is one."""
    file, following = mkstemp(prefix=f".{KEY_FILE}.", dir=path.parent)  # mode 0600 from its first moment
    try:
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(secrets.token_hex(KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())
        os.link(following, path)
    finally:
        os.unlink(following)


def _put(path: Path, content: bytes) -> None:
    following = path.with_suffix(".new")
    with following.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    following.replace(path)
