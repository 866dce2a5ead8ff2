"""Rate decks in the ledger: every version's file as it was loaded, and which version prices calls now.

A deck's versions are numbered from 1.  Of those whose ``effective_from_ms`` has come the one that came last is in use
(loaded last, where they came together); a version loaded for later is *announced* (the directory's version is raised)
when its moment comes.
"""

import gzip
import io
import zlib
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.entries import DeckVersion
from gateway.ledger.errors import ProvisioningRefused
from gateway.ledger.tables import decks
from rating.deck import Deck, DeckError, load_deck, text_lines

MAX_FILE_BYTES = 512 * 2**20
"""Largest unpacked deck: 336,736 prefixes are about 20 MB; a packed bomb must not fill the memory."""

UNPACK_BYTES = 256 * 1024
"""Unpacked at a time: what came before a fault is not lost with it."""

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class DeckFile:
    """A deck's file, unpacked; ``currency`` None: the file's own column says it; ``path``: where it is, if known."""

    name: str
    content: bytes
    currency: str | None = None
    path: str = ""

    @property
    def digest(self) -> str:
        """What tells two versions apart: the content and the currency it was loaded with."""
        return sha256(self.content + b"\0" + (self.currency or "").encode()).hexdigest()


def unpack(name: str, data: bytes) -> bytes:
    """The CSV in ``data``, which may be gzipped.  Raises ProvisioningRefused where it is damaged or too large."""
    content = _unzipped(name, data) if data.startswith(GZIP_MAGIC) else data
    if len(content) > MAX_FILE_BYTES:
        raise ProvisioningRefused(f"rate deck {name!r} is larger than {MAX_FILE_BYTES} bytes", "split it")
    return content


def _unzipped(name: str, data: bytes) -> bytes:
    """All of it, or one piece more than MAX_FILE_BYTES; what is whole is kept to tell where it breaks off."""
    found = io.BytesIO()
    try:
        with gzip.open(io.BytesIO(data)) as file:
            while found.tell() <= MAX_FILE_BYTES and (piece := file.read1(UNPACK_BYTES)):
                found.write(piece)
    except (OSError, EOFError, zlib.error) as error:
        line = found.getvalue().count(b"\n") + 1
        what = f"rate deck {name!r} is not a whole gzip file: it breaks off in line {line} ({error})"
        raise ProvisioningRefused(what, "send it again") from error
    return found.getvalue()


def read_deck(file: DeckFile, *, is_new: bool = True) -> Deck:
    """The deck in a file, which is new or was taken before; takes seconds for a large one.

    Raises ProvisioningRefused naming row, column and reason.
    """
    try:
        return load_deck(file.name, text_lines(io.BytesIO(file.content)), file.currency, is_new=is_new)
    except DeckError as error:
        where = f" in {file.path}" if file.path else ""
        raise ProvisioningRefused(
            f"rate deck {file.name!r}{where} is refused: {error}", "correct the file; the deck in use stays"
        ) from error


async def insert_version(
    connection: AsyncConnection, file: DeckFile, packed: bytes, deck: Deck, now_ms: int, effective_from_ms: int
) -> int:
    """Keep a new version; the number it got.  ``packed`` is the gzipped content."""
    last = await connection.scalar(select(func.max(decks.c.version)).where(decks.c.name == file.name))
    version = int(last or 0) + 1
    await connection.execute(
        insert(decks).values(
            name=file.name,
            version=version,
            currency=deck.currency,
            rows=len(deck),
            sha256=file.digest,
            file_gz=packed,
            loaded_ms=now_ms,
            effective_from_ms=effective_from_ms,
            announced=effective_from_ms <= now_ms,
        )
    )
    return version


async def list_versions(connection: AsyncConnection, now_ms: int) -> list[DeckVersion]:
    """Every version of every deck, newest first within a name."""
    columns = [column for column in decks.c if column.name != "file_gz"]
    rows = (await connection.execute(select(*columns).order_by(decks.c.name, decks.c.version.desc()))).all()
    begun = sorted((row.effective_from_ms, row.version, row.name) for row in rows if row.effective_from_ms <= now_ms)
    in_use = {name: version for _, version, name in begun}
    return [
        DeckVersion(
            row.name,
            row.version,
            row.currency,
            row.rows,
            row.sha256,
            row.loaded_ms,
            row.effective_from_ms,
            in_use.get(row.name) == row.version,
        )
        for row in rows
    ]


async def list_due(connection: AsyncConnection, now_ms: int) -> list[DeckVersion]:
    """Of every deck the version in use and the one that follows it, so that a call that goes on beyond its moment is
    priced by both; one of a deck that has none in use yet is not among them."""
    versions = await list_versions(connection, now_ms)
    in_use = {each.name: each for each in versions if each.in_use}
    following: dict[str, DeckVersion] = {}
    for each in sorted(versions, key=lambda each: (-each.effective_from_ms, each.version)):
        if each.name in in_use and each.effective_from_ms > now_ms:
            following[each.name] = each
    return [*in_use.values(), *following.values()]


async def read_file(connection: AsyncConnection, version: DeckVersion) -> bytes:
    """The gzipped file of one version."""
    found = await connection.scalar(
        select(decks.c.file_gz).where(decks.c.name == version.name, decks.c.version == version.version)
    )
    assert isinstance(found, bytes), "a version that was listed in this snapshot is there"
    return found


async def announce_due(connection: AsyncConnection, now_ms: int) -> None:
    """Mark the versions whose moment has come as told of."""
    await connection.execute(update(decks).where(is_due(now_ms)).values(announced=True))


def is_due(now_ms: int) -> ColumnElement[bool]:
    """The moment of a version has come and nobody has been told."""
    return decks.c.announced.is_(False) & (decks.c.effective_from_ms <= now_ms)
