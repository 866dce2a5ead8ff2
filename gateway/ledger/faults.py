"""What an error of the database means: it is away, it refuses a row, or two transactions got in each other's way.

This is decided here and nowhere else.  *Away* (:class:`LedgerAway`): it could not be reached or could not work; the
same request may be made again later; where its tables are just being made or upgraded it is :class:`LedgerBehind`,
which nobody needs to be alarmed of.  *A row error* passes as it is: the database refuses what a row says and will
refuse it again.  *Collided* (:class:`Collided`, which is away to everybody but
:meth:`gateway.ledger.engine.Database.transact`): nothing is wrong, and trying again at once helps.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from gateway.ledger.errors import Collided, LedgerAway, LedgerBehind

COLLISIONS: Final = frozenset({"40001", "40P01"})
"""PostgreSQL's serialization_failure and deadlock_detected: the transaction was taken back whole."""

ROW_CLASSES: Final = frozenset({"22", "23"})
"""SQLSTATE classes of what a row says: data exception, integrity constraint violation."""


def is_row_error(error: BaseException) -> bool:
    """Whether the database refused what a row says (it will refuse it again), not whether it could not work."""
    if isinstance(error, DataError | IntegrityError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # asyncpg refuses a value before it is sent, with a DataError of its own that SQLAlchemy calls a plain Error.
    return _sqlstate(error)[:2] in ROW_CLASSES or type(getattr(error.orig, "__cause__", None)).__name__ == "DataError"


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


@contextlib.contextmanager
def away_errors() -> Iterator[None]:
    """Turn "the database cannot do this now" into LedgerAway or Collided; errors of a row pass."""
    try:
        yield
    except DBAPIError as error:
        if is_row_error(error):
            raise
        if _sqlstate(error) in COLLISIONS:
            raise Collided(first_line(error.orig)) from error
        raise _away(first_line(error.orig)) from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise _away(first_line(error)) from error
    except Exception as error:
        if not _is_asyncpg(error):
            raise
        raise _away(first_line(error)) from error  # of connecting: some versions of SQLAlchemy pass it on as it is


def _is_asyncpg(error: BaseException | None) -> bool:
    return type(error).__module__.startswith("asyncpg.")


def first_line(error: BaseException | None) -> str:
    """What the driver said, without the lines in which PostgreSQL adds details and SQLAlchemy the statement."""
    cause = getattr(error, "__cause__", None)
    said = str(cause if _is_asyncpg(cause) else error).strip()
    return said.splitlines()[0] if said else type(error).__name__


_HINTS: Final = (
    ("No space left", "make room on its disk; charges wait meanwhile and are booked then"),
    ("full", "make room on its disk; charges wait meanwhile and are booked then"),
    ("disk I/O", "look at its disk (full, quota or failing?); charges wait meanwhile and are booked then"),
    ("locked", "another process holds it; try again, and look for a long-running transaction"),
    ("readonly", "give the user this runs as the right to write the file and its folder"),
    ("unable to open", "make the folder of [ledger] url (or node.data_dir) and let this user write there"),
    ("malformed", "the file is damaged: restore it from a backup"),
    ("password authentication", "check user and password of [ledger] url"),
    ('database "', "make the database that [ledger] url names, or name another"),
    ('role "', "make the user that [ledger] url names, or name another"),
    ("permission denied", "let its owner run a command once, then `callgate export postgres-roles` as a superuser"),
    ("must be owner", "let its owner run a command once, then `callgate export postgres-roles` as a superuser"),
    ("read-only transaction", "this server is a standby: name the primary in [ledger] url"),
    ("too many clients", "raise the server's max_connections: each process of a gate uses a few"),
    ("connection slots", "raise the server's max_connections: each process of a gate uses a few"),
    ("starting up", "it is starting; charges wait meanwhile"),
    ("shutting down", "start it again; charges wait meanwhile"),
)
"""What to do, by a part of what SQLite, PostgreSQL or the system said; the first that fits."""


_BEHIND: Final = re.compile(r"no such (column|table)|(column|relation) \S+ does not exist|has no column named")
"""How SQLite and PostgreSQL say that a table or column is missing."""


def _away(what: str) -> LedgerAway:
    if _BEHIND.search(what):
        hint = "wait a moment, or start `callgate serve` or `callgate provision` once: they make the tables"
        return LedgerBehind(f"the ledger is being upgraded ({what})", hint)
    hint = next((hint for sign, hint in _HINTS if sign in what), "check [ledger] url and that the database runs")
    return LedgerAway(f"the ledger is away ({what})", hint)
