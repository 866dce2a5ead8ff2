"""A file of charges in ``data_dir/unsent-charges``: written whole, synced and by rename, read whole or not at all.

It is lines of JSON, so that a person can read what a broken one still says: the first line with format, owner, how
many charges follow and their CRC-32, then one charge each, with what was held for its call.  Whose it is and when it
goes is ``unsent``'s to know.
"""

import json
import os
import time
from binascii import crc32
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gateway.call.commands import Release, Reserve, Settle
from gateway.credit.kept import Kept, Live
from gateway.credit.requests import read_tariff, write_tariff
from gateway.credit.streams import MARKER_S
from policy.verdict import Limits

FOLDER: Final = "unsent-charges"

FORMAT: Final = 1
"""Raised where an older release could not read a file."""

SUFFIX: Final = ".charges"

MERGE_WITHIN_S: Final = MARKER_S - 3600
"""How long after its call's end a charge is said with its reservation.  The marker of a booked charge stands for
MARKER_S; later a merge would bring the call back and charge it twice.  An hour for clocks that differ."""

NO_EPOCH: Final = -1
"""Stands for the epoch of a charge that was doubtful already: whatever Redis is in, the ledger may have it."""

HEAD_BYTES_MAX: Final = 4096
"""The first line: an owner's name and three numbers."""

_MS_PER_S: Final = 1000


class BrokenFileError(Exception):
    """A file that is not as it was written; the text says what is wrong with it."""


def write_charges(data_dir: Path, owner: str, charges: Iterable[Kept]) -> Path:
    """Leave charges for the next start of ``owner`` (``node/slot``), on the disk by the time this returns its path.

    Raises OSError.
    """
    lines = [_line(charge_row(kept)) for kept in charges]
    body = b"".join(lines)
    head = {"format": FORMAT, "owner": owner, "charges": len(lines), "crc32": crc32(body)}
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{owner.rpartition('/')[2]}-{uuid4().hex}{SUFFIX}"
    following = path.with_suffix(".new")
    try:
        with following.open("wb") as file:
            file.write(_line(head) + body)
            file.flush()
            os.fsync(file.fileno())
        following.replace(path)
    except OSError:
        with suppress(OSError):
            following.unlink(missing_ok=True)
        raise
    for each in (folder, data_dir):
        sync_folder(each)
    return path


def read_owner(path: Path) -> str:
    """Whose charges these are, ``node/slot``.  Raises OSError; BrokenFileError."""
    with path.open("rb") as file:
        return str(_read_head(file.readline(HEAD_BYTES_MAX))["owner"])


def read_charges(path: Path) -> list[Kept]:
    """The charges of a file, ready to be said.  Raises OSError; BrokenFileError."""
    first, _, body = path.read_bytes().partition(b"\n")
    head = _read_head(first)
    lines = body.splitlines()
    if (head["charges"], head["crc32"]) != (len(lines), crc32(body)):
        raise BrokenFileError(f"{head['charges']} charges were written and {len(lines)} lines are there, or others")
    try:
        return [read_charge(json.loads(line), time.time() * _MS_PER_S) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenFileError(f"a charge cannot be read: {error!r}") from error


def files_in(data_dir: Path) -> list[Path]:
    """The files of every owner."""
    return sorted((data_dir / FOLDER).glob(f"*{SUFFIX}"))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk.  Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def _read_head(line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line)
        known = head["format"] == FORMAT
        slot = head["owner"].rpartition("/")[2]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenFileError(f"its first line is none: {error!r}") from error
    if not known or not slot.isdecimal() or not {"charges", "crc32"} <= head.keys():
        raise BrokenFileError(f"its first line says {line[:200]!r}, which this release does not know")
    return dict(head)


def charge_row(kept: Kept) -> dict[str, Any]:
    """A call that is over as it stands in a file; :func:`read_charge` reads it."""
    command, live = kept.command, kept.live
    row: dict[str, Any] = {
        "call": command.call_id,
        "tenant_id": command.tenant_id,
        "record": command.record.decode("utf-8", "surrogateescape"),
    }
    if isinstance(command, Settle):
        row |= {"talk_ms": command.talk_ms, "charge_micros": command.charge_micros}
        row["epoch"] = NO_EPOCH if kept.doubtful else kept.epoch
        if live is not None:
            row["live"] = live_row(live)
    return row


def live_row(live: Live) -> dict[str, Any]:
    """What was granted to a call, without its texts."""
    return {
        "tick": live.tick,
        "paid_s": live.paid_s,
        "held_micros": live.held_micros,
        "final": live.final,
        "tariff": write_tariff(live.tariff),
        "lease_s": live.lease_s,
        "answered_ms": live.answered_ms,
        "proven_s": live.proven_s,
        "terms": live.terms,
        "drawn": live.drawn,
    }


def read_charge(row: dict[str, Any], now_ms: float) -> Kept:
    """A call that is over, from its row.  Raises ValueError, KeyError, TypeError, AttributeError."""
    call_id, tenant_id = str(row["call"]), str(row["tenant_id"])
    record = row["record"].encode("utf-8", "surrogateescape")
    if "charge_micros" not in row:
        return Kept(Release(call_id, tenant_id, record), None, was_dirty=True)
    settle = Settle(call_id, tenant_id, int(row["talk_ms"]), int(row["charge_micros"]), record)
    live = read_live(call_id, tenant_id, row["live"]) if "live" in row else None
    if live is not None and live.answered_ms + settle.talk_ms < now_ms - MERGE_WITHIN_S * _MS_PER_S:
        live = None
    kept = Kept(settle, live, was_dirty=True)
    kept.epoch = int(row.get("epoch", 0))
    return kept


def read_live(call_id: str, tenant_id: str, row: dict[str, Any], adoption: bytes = b"", usage: bytes = b"") -> Live:
    """A call from :func:`live_row` and its texts.  Raises as :func:`read_charge`."""
    paid_s = None if row["paid_s"] is None else int(row["paid_s"])
    lease_s, tick = int(row["lease_s"]), int(row["tick"])
    terms, drawn = str(row.get("terms", "")), str(row.get("drawn", ""))  # an older release wrote none
    asked = Reserve(
        call_id, tenant_id, read_tariff(row["tariff"]), 0, lease_s, Limits(), adoption, usage, tick=tick, terms=terms
    )
    live = Live(asked, paid_s, int(row["held_micros"]), bool(row["final"]), drawn)
    live.answered_ms, live.proven_s = int(row["answered_ms"]), int(row["proven_s"])
    return live
