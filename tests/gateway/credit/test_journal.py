"""The journal's files: on the disk before anything follows, read back whatever was cut off, whole after a failure."""

import asyncio
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from gateway.credit import journal
from gateway.credit.journal import FOLDER, Journal, JournalFile, owners_in, read_journals

OWNER = "gate-1/0"


def path_of(data_dir: Path) -> Path:
    [path] = (data_dir / FOLDER).glob("*.journal")
    return path


async def write(to: Journal, *rows: dict[str, Any]) -> list[bool]:
    written: list[bool] = []
    for row in rows:
        to.write(row, written.append)
    async with asyncio.timeout(10):
        while len(written) < len(rows):
            await asyncio.sleep(0.001)
    return written


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def opened(tmp_path: Path, told: list[str]) -> Journal:
    return Journal(tmp_path, OWNER, told.append)


def rows_in(data_dir: Path) -> list[Any]:
    return [row for read in read_journals(data_dir, OWNER) for row in read.rows]


async def test_what_is_written_is_read_by_its_owner_alone(tmp_path: Path, opened: Journal) -> None:
    assert not opened.stands
    assert await write(opened, {"a": 1}, {"b": "ü\n"}) == [True, True]
    assert rows_in(tmp_path) == [{"a": 1}, {"b": "ü\n"}]
    assert read_journals(tmp_path, "gate-1/1") == []
    assert owners_in(tmp_path) == {OWNER}
    assert opened.stands
    assert path_of(tmp_path).stat().st_mode & 0o077 == 0 or (tmp_path / FOLDER).stat().st_mode & 0o077 == 0
    await opened.stop()


async def test_lines_of_one_turn_are_synced_together(
    tmp_path: Path, opened: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(opened, {"first": 1})
    synced, sync = [], os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(path_of(tmp_path).stat().st_size), sync(fd)))
    order: list[str] = []
    for number in range(50):
        opened.write({"row": number}, lambda written: order.append(f"{len(synced)} {written}"))
    async with asyncio.timeout(10):
        while len(order) < 50:
            await asyncio.sleep(0.001)
    assert order == ["1 True"] * 50, "no line was followed before it was synced, and one sync was for all"
    assert synced == [path_of(tmp_path).stat().st_size]
    await opened.stop()


@pytest.mark.parametrize("cut", [1, 5, 20])
async def test_a_torn_last_line_is_no_line(tmp_path: Path, opened: Journal, cut: int) -> None:
    await write(opened, {"a": 1}, {"b": 2, "text": "x" * 40})
    await opened.stop()
    path = path_of(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    [read] = read_journals(tmp_path, OWNER)
    assert (read.rows, read.bad) == ([{"a": 1}], 0)


async def test_a_last_line_whose_blocks_did_not_all_reach_the_disk_is_no_line(tmp_path: Path, opened: Journal) -> None:
    await write(opened, {"a": 1}, {"b": 2})
    await opened.stop()
    path = path_of(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"b"', b"\0\0\0"))
    [read] = read_journals(tmp_path, OWNER)
    assert (read.rows, read.bad) == ([{"a": 1}], 0)


async def test_a_bad_line_among_others_is_passed_by_and_its_file_kept(tmp_path: Path, opened: Journal) -> None:
    await write(opened, {"a": 1}, {"b": 2}, {"c": 3})
    await opened.stop()
    path = path_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"b":2', b'"b":9'))
    left = read_journals(tmp_path, OWNER)
    assert [(read.rows, read.bad) for read in left] == [([{"a": 1}, {"c": 3}], 1)]
    following = Journal(tmp_path, OWNER, lambda text: None)
    following.inherit(left)
    assert following.stands
    following.remove()
    assert not following.stands
    assert [each.suffix for each in (tmp_path / FOLDER).iterdir()] == [".broken"]
    assert read_journals(tmp_path, OWNER) == []


async def test_a_file_of_another_format_is_left_alone(tmp_path: Path, opened: Journal) -> None:
    await write(opened, {"a": 1})
    await opened.stop()
    path = path_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    assert (read_journals(tmp_path, OWNER), owners_in(tmp_path)) == ([], set())


async def test_removed_it_begins_anew(tmp_path: Path, opened: Journal) -> None:
    await write(opened, {"a": 1})
    opened.remove()
    assert list((tmp_path / FOLDER).iterdir()) == []
    await write(opened, {"b": 2})
    assert rows_in(tmp_path) == [{"b": 2}]
    await opened.stop()


async def test_a_full_disk_writes_none_of_a_batch_and_the_next_one_is_whole(
    tmp_path: Path, opened: Journal, told: list[str]
) -> None:
    """The limit on a file's size stands for the disk: half of the batch fits."""
    await write(opened, {"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path_of(tmp_path).stat().st_size + 60, hard))
    try:
        assert await write(opened, {"b": "x" * 30}, {"c": "x" * 30}) == [False, False]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(told) == 1
    assert "2 lines could not be written" in told[0]
    assert rows_in(tmp_path) == [{"a": 1}]
    assert await write(opened, {"d": 4}) == [True]
    assert rows_in(tmp_path) == [{"a": 1}, {"d": 4}]
    await opened.stop()


async def test_without_a_folder_nothing_is_written(told: list[str]) -> None:
    none = Journal(None, OWNER, told.append)
    assert not none.usable
    assert await write(none, {"a": 1}) == [False]
    await none.stop()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, told: list[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    to = Journal(blocked, OWNER, told.append)
    assert await write(to, {"a": 1}) == [False]
    assert told
    await to.stop()


async def test_beyond_its_limit_nothing_is_written(
    tmp_path: Path, opened: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(opened, {"a": 1})
    monkeypatch.setattr(journal, "BYTES_MAX", path_of(tmp_path).stat().st_size)
    assert not opened.usable
    assert await write(opened, {"b": 2}) == [False]
    following = Journal(tmp_path, OWNER, lambda text: None)
    following.inherit(read_journals(tmp_path, OWNER))
    assert not following.usable, "what older starts left counts"
    await opened.stop()


async def test_no_more_lines_wait_than_may(opened: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "WAITING_MAX", 3)
    assert sorted(await write(opened, *({"row": number} for number in range(5)))) == [False, False, True, True, True]
    await opened.stop()


def test_a_file_that_cannot_be_cut_back_gets_no_more_lines(tmp_path: Path) -> None:
    """After a failed sync nobody knows what is on the disk: what cannot be taken back is left for the next start."""
    file = JournalFile(tmp_path, OWNER)
    file.append(b"00000000 {}\n")
    first = file.path
    assert file._file is not None
    os.close(file._file.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.append(b"00000000 {}\n")
    file.append(b"00000000 {}\n")
    assert file.path != first
    file.close()
