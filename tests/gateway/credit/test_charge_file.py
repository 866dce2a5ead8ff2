"""A file of charges is read as it was written, or not at all."""

import json
import stat
import time
from binascii import crc32
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import Release, Reserve, Settle
from gateway.credit.charge_file import (
    MERGE_WITHIN_S,
    BrokenFileError,
    files_in,
    read_charges,
    read_owner,
    write_charges,
)
from gateway.credit.kept import Kept, Live
from policy.verdict import Limits
from rating.tariff import Tariff

OWNER = "gate-1/7"
MINUTES = Tariff(60_000, 500, 60, 60, 10, 700)


def charge(call: str = "c", tariff: Tariff | None = MINUTES, ended_ago_s: float = 0.0) -> Kept:
    live = Live(Reserve(call, "a tenant", tariff, 60, 90, Limits(), b"a", b"u", tick=3), 240, 240_000, True)
    live.answered_ms, live.proven_s = round((time.time() - ended_ago_s) * 1000) - 5_000, 4
    return Kept(Settle(call, "a tenant", 5_000, 5_500, b'{"x":"\xff\\n\xc3\xbc"}'), live, was_dirty=False)


def parts(live: Live | None) -> dict[str, Any]:
    return {name: getattr(live, name) for name in Live.__slots__} if live is not None else {}


def test_a_charge_is_read_as_it_was_written(tmp_path: Path) -> None:
    free = charge("free", None)
    assert free.live is not None
    free.live.paid_s, free.live.held_micros, free.live.final = None, 0, False
    emergency = Kept(Settle("e", "ü", 5, 0, b"{}"), None, was_dirty=False)
    release = Kept(Release("r", "t", b"{}"), charge("r").live, was_dirty=False)
    written = [charge(), free, emergency, release]
    path = write_charges(tmp_path, OWNER, written)
    found = read_charges(path)
    assert [kept.command for kept in found] == [kept.command for kept in written]
    assert [parts(kept.live) for kept in found] == [parts(kept.live) for kept in written[:3]] + [{}]
    assert all(kept.again and not kept.acknowledged for kept in found)
    assert (read_owner(path), files_in(tmp_path)) == (OWNER, [path])
    assert path.name.startswith("7-")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, "records name who called whom"


def test_no_folder_and_no_file_is_nothing(tmp_path: Path) -> None:
    assert files_in(tmp_path) == []
    assert read_charges(write_charges(tmp_path, OWNER, [])) == []


@pytest.mark.parametrize(("ago_s", "known"), [(MERGE_WITHIN_S - 60.0, True), (MERGE_WITHIN_S + 60.0, False)])
def test_what_was_held_counts_for_a_day_only(tmp_path: Path, ago_s: float, known: bool) -> None:
    [kept] = read_charges(write_charges(tmp_path, OWNER, [charge(ended_ago_s=ago_s)]))
    assert (kept.live is not None) == known


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "unsent-charges").write_text("in the way")
    with pytest.raises(FileExistsError):
        write_charges(tmp_path, OWNER, [charge()])
    with pytest.raises(FileNotFoundError):
        write_charges(tmp_path / "away", OWNER, [charge()])
    assert [path.name for path in tmp_path.iterdir()] == ["unsent-charges"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("charge_micros", None), ("call", ...), ("record", 7), ("live", []), ("live", {"tick": "x"}), ("live", 0)],
)
def test_a_line_that_is_no_charge(tmp_path: Path, key: str, value: Any) -> None:
    path = write_charges(tmp_path, OWNER, [charge()])
    head, row = (json.loads(line) for line in path.read_bytes().splitlines())
    if value is ...:
        del row[key]
    else:
        row[key] = row[key] | value if isinstance(value, dict) else value
    body = json.dumps(row).encode() + b"\n"
    head["crc32"] = crc32(body)
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)
    with pytest.raises(BrokenFileError, match="a charge cannot be read"):
        read_charges(path)


@pytest.mark.parametrize(
    "head", [b"", b"[]", b"{}", b'{"format":1,"owner":3}', b'{"format":1,"owner":"gate/1"}', b"\xff", b"null"]
)
def test_a_first_line_that_is_none(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x.charges"
    path.write_bytes(head + b"\n")
    for read in (read_owner, read_charges):
        with pytest.raises(BrokenFileError, match="its first line"):
            read(path)
