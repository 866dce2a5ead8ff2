"""A PostgreSQL cluster of the tests' own: in a temporary folder, on a Unix socket, with a database for each test.

PostgreSQL refuses to run as root.  Where the tests do, the cluster belongs to the user that Debian's package makes,
and so does its folder: pytest's own temporary folders may be entered by nobody else.  ``fsync`` is off: what was
committed is in the kernel, which survives every kill that a test does; only a machine without power would forget it.
A commit still waits until the server has written it there, so a killed server loses nothing that it confirmed.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

SUPERUSER = "postgres"
"""Of the cluster, and of the system where the tests run as root."""

TEMPLATE = "callgate_template"
"""A database with the product's tables: a copy of it takes a tenth of the time that the migrations take."""

MEMORY = Path("/dev/shm")
"""A file system in memory: a database is copied there in 30 ms, on a disk in 150."""

MEMORY_WANTED = 2**30
"""Room that MEMORY must have; a cluster takes some 50 MB, and containers often give it no more than 64."""

STARTS_WITHIN_S = 30.0
"""Only ends a test that hangs: a start takes a tenth of a second, one that recovers two tenths."""

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "jit": "off",
    "deadlock_timeout": "50ms",
}


class Cluster:
    """One server with its data; ``stop`` and ``start`` as often as a test likes.  ``close`` removes everything.

    ``durable``: on a disk and with ``fsync`` on, as a customer's has it; else in memory where there is room.
    """

    def __init__(self, programs: Path, *, durable: bool = False) -> None:
        self._programs = programs
        self._settings = SETTINGS | (dict.fromkeys(("fsync", "full_page_writes"), "on") if durable else {})
        place = None if durable else _roomy()
        self.folder = Path(tempfile.mkdtemp(prefix="callgate-postgres-", dir=place))
        self.data = self.folder / "data"
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = SUPERUSER
            owner = pwd.getpwnam(SUPERUSER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        words = ["-D", str(self.data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
        self._run("initdb", *words)
        self._log = (self.folder / "server.log").open("ab")
        self.start()

    def url(self, database: str, *, host: Path | None = None, user: str = SUPERUSER) -> str:
        """As ``[ledger] url`` has it; ``host`` is another folder with a socket, such as a proxy's."""
        return f"postgresql://{user}@/{database}?host={host or self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-k", str(self.folder), *settings]
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, cwd=self.folder, **self._as_user(), start_new_session=True
        )
        until_s = time.monotonic() + STARTS_WITHIN_S
        while subprocess.run(self._psql("SELECT 1"), capture_output=True, check=False).returncode:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < until_s, (self.folder / "server.log").read_text()
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Of the running server; its other processes descend from it."""
        assert self._process is not None, "it is stopped"
        return self._process.pid

    def stop(self) -> None:
        """``pg_ctl stop -m immediate``: every connection dies at once, the next start recovers from the log."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def sql(self, statement: str, database: str = SUPERUSER) -> str:
        """Carry out a statement as the superuser, in a transaction of its own; what psql prints."""
        done = subprocess.run(self._psql(statement, database), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refusal(self, statement: str, database: str, user: str) -> str:
        """What the server says no with to a user's statement; empty where it is carried out."""
        done = subprocess.run(self._psql(statement, database, user), capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    def create(self, database: str, template: str = "template1") -> str:
        """A new database; its URL."""
        self.sql(f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever still uses it."""
        self.sql(f"DROP DATABASE {database} WITH (FORCE)")

    def cut(self, database: str) -> int:
        """End every connection to a database, as an administrator or a failover does; how many there were."""
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = "
        return int(self.sql(f"{ended}'{database}' AND pid <> pg_backend_pid()"))

    def copy(self, database: str, new: str) -> None:
        """Back a database up with pg_dump and restore it under another name, as README tells."""
        there = ["-h", str(self.folder), "-U", SUPERUSER]
        file = str(self.folder / f"{database}.dump")
        self._run("pg_dump", *there, "-Fc", "-f", file, database)
        self.create(new)
        self._run("pg_restore", *there, "-d", new, file)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as_user())
        assert done.returncode == 0, done.stderr

    def _as_user(self) -> dict[str, object]:
        return {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}

    def _psql(self, statement: str, database: str = SUPERUSER, user: str = SUPERUSER) -> list[str]:
        words = ["-qAtX", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", user, "-d", database]
        return [str(self._programs / "psql"), *words, "-c", statement]


def _roomy() -> Path | None:
    """MEMORY where it has room, else the usual place."""
    usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_WANTED
    return MEMORY if usable else None
