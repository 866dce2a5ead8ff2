"""Who may do what in Redis: for each role of the gate the scripts, plain commands and keys it uses, declared here once.

``callgate export redis-acl`` prints these roles as a file for Redis' ``aclfile``.  A script runs with the rights of
the user who calls it, so a role may also do what its scripts do; those commands are read from the scripts' own text
and stand nowhere else.  Nobody may read all keys, empty a database, change the server's settings or look into it:
what a stolen password opens is the money of the accounts, and not the machine behind it.  The admin process, the only
one that the network can ask anything, calls no script but one that reads, and writes nothing but orders to workers.

The settings have one ``redis.url``, so by default all roles sign in as UNION, who may do what any of them may.  Roles
that run by themselves (``serve --role``, each with settings of its own) and the command line may sign in as their own
user instead.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.credit import lua
from gateway.credit.keys import (
    DIRECTORY_KEY,
    DOUBTFUL_KEY,
    HEARD_KEY,
    NEWEST_KEY,
    ORDERS_PATTERN,
    OWNERS_KEY,
    PARTITION_PATTERN,
    PARTITIONS_KEY,
    REGISTERED_PATTERN,
)

UNION: Final = "callgate"
"""The user of a gate whose roles share one URL; the users of single roles are named after it."""

PLACEHOLDER: Final = "#SHA256_OF_PASSWORD"
"""Stands where the password's hash belongs.  It is no hash, so Redis refuses the file until it has been filled in."""

SCRIPT_COMMANDS: Final = ("evalsha", "eval")
"""How a script is called: by its hash, and whole where Redis has forgotten it or it is needed once."""

LOOK_COMMANDS: Final = ("evalsha_ro", "eval_ro")
"""How a script is called that only reads (Redis 7.0)."""

SIGNING_IN: Final = ("select",)
"""What any connection may need: another database.  Signing in itself is free to everybody."""

IN_A_CLUSTER: Final = ("command", "cluster|info", "cluster|slots", "asking")
"""What a connection to Redis Cluster may need: where a command has its keys (redis-py asks), who serves what, and to be
heard by a node that a slot is moving to."""

READ: Final = frozenset("R")
WRITE: Final = frozenset("W")
BOTH: Final = READ | WRITE

Keys = Mapping[str, frozenset[str]]
"""What may be done to the keys of each pattern."""

_CALLED: Final = re.compile(r"redis\.call\('(\w+)'")


@dataclass(frozen=True, slots=True)
class Role:
    """One user: the scripts it calls, the commands it gives itself, and what it may do to which keys.

    ``looks`` are scripts that only read, and are called so that no right to write is asked for.
    """

    name: str
    scripts: tuple[lua.Script, ...]
    plain: tuple[str, ...]
    keys: Keys
    looks: tuple[lua.Script, ...] = ()

    @property
    def commands(self) -> frozenset[str]:
        """All that the role may do, its scripts' own commands among it; in lower case, ``name|subcommand``."""
        inside = {found.lower() for script in (*self.scripts, *self.looks) for found in _CALLED.findall(script.text)}
        calling = (*(SCRIPT_COMMANDS if self.scripts else ()), *(LOOK_COMMANDS if self.looks else ()))
        return frozenset({*SIGNING_IN, *IN_A_CLUSTER, *calling, *self.plain, *inside})


WORKER: Final = Role(
    f"{UNION}-worker",
    scripts=(*lua.HOT, lua.ADOPT, lua.INHERIT, lua.INHERITED, lua.REGISTER),
    plain=(
        "script|load", "info", "ping",  # at each connection, and while it is silent
        "get",  # epochs, the number of partitions, the directory's version
        "hget",  # where peers have registered from
        "zrange",  # calls that an older start left behind
        "hset", "sadd",  # that all is said to a rebuild, and what was said too late for it
        "xadd",  # refused calls
        "xlen",  # how full the outbox is
        "xread", "xtrim",  # orders
    ),
    keys={
        PARTITION_PATTERN: BOTH,
        OWNERS_KEY: BOTH,
        ORDERS_PATTERN: BOTH,
        REGISTERED_PATTERN: BOTH,
        PARTITIONS_KEY: READ,
        DIRECTORY_KEY: READ,
        NEWEST_KEY: READ,
        HEARD_KEY: WRITE,
        DOUBTFUL_KEY: WRITE,
    },
)  # fmt: skip

_READING: Final = (
    "hmget",  # accounts
    "zrange",  # live calls
    "info",  # whether it is there, and which run of it
)  # fmt: skip

_LOOKS: Final = (lua.LOOK,)
"""Accounts and outbox in one moment."""

_ORDERING: Final = ("hgetall", "time", "xadd", "expire")
"""Orders to the workers that live."""

_REBUILDING: Final = (
    "get", "set",  # partitions, epochs, what was booked last
    "script|load",
    "xread",  # the outbox that is left
)  # fmt: skip

_LEADER_KEYS: Final = {
    PARTITION_PATTERN: BOTH,
    OWNERS_KEY: READ,
    ORDERS_PATTERN: WRITE,
    PARTITIONS_KEY: BOTH,
    DIRECTORY_KEY: BOTH,
    NEWEST_KEY: BOTH,
    HEARD_KEY: READ,
}

SETTLER: Final = Role(
    f"{UNION}-settler",
    scripts=(lua.FUND, lua.WITHDRAW, lua.CREATE, lua.SWEEP, lua.PUBLISH, lua.FORGET, *lua.REPAIR),
    plain=(
        *_READING, *_ORDERING, *_REBUILDING,
        "xrange",  # since when
        "xlen",  # how much waits
        "xdel",  # refused calls that are written down
        "smembers", "srem",  # what was said too late for a rebuild
        "zrangebyscore",  # leases that ran out
        "hkeys", "hdel",  # counters of periods that are over
    ),
    keys={**_LEADER_KEYS, DOUBTFUL_KEY: BOTH},
    looks=_LOOKS,
)  # fmt: skip

ADMIN: Final = Role(
    f"{UNION}-admin",
    scripts=(),
    looks=_LOOKS,
    plain=(
        *_READING,
        "hgetall",  # pools and limits
        "zscore",  # one live call
        "xadd", "expire",  # the order to hang up
    ),
    keys={PARTITION_PATTERN: READ, ORDERS_PATTERN: WRITE},
)  # fmt: skip
"""The admin process: HTTP."""

OPERATOR: Final = Role(
    f"{UNION}-operator",
    scripts=(lua.FUND, lua.WITHDRAW, lua.CREATE, lua.PUBLISH, lua.ANEW, lua.FORGET, *lua.REPAIR),
    plain=(
        *_READING, *_ORDERING, *_REBUILDING,
        "zscore",  # hangup
        "hdel",  # ranges that are opened again
    ),
    keys=_LEADER_KEYS,
    looks=_LOOKS,
)  # fmt: skip
"""The command line; ``reconcile --repair`` leads a rebuild."""

ROLES: Final = (WORKER, SETTLER, ADMIN, OPERATOR)


def union(keys: Iterable[Keys]) -> Keys:
    """What any of them may do: a command that reads and writes a key wants one pattern that allows both."""
    together: dict[str, frozenset[str]] = {}
    for some in keys:
        for pattern, rights in some.items():
            together[pattern] = together.get(pattern, frozenset()) | rights
    return together


def acl_file() -> str:
    """The text of an ACL file: UNION to be given a password's hash, the single roles off until they are wanted.

    Redis takes no comments in it, so what to do with it is said in gateway/README.md.  Redis 7.0 and later; 6.2 does
    not tell reading from writing a key (``%R~``).
    """
    commands = frozenset().union(*(role.commands for role in ROLES))
    lines = ["user default off", _line(UNION, f"on {PLACEHOLDER}", commands, union(role.keys for role in ROLES))]
    lines += [_line(role.name, "off", role.commands, role.keys) for role in ROLES]
    return "\n".join(lines) + "\n"


def _line(name: str, state: str, commands: frozenset[str], keys: Keys) -> str:
    """``reset`` first, so that nothing is left over where Redis reads the file a second time."""
    places = " ".join(_place(pattern, rights) for pattern, rights in keys.items())
    return f"user {name} reset {state} {places} {' '.join(f'+{command}' for command in sorted(commands))}"


def _place(pattern: str, rights: frozenset[str]) -> str:
    return f"~{pattern}" if rights == BOTH else f"%{''.join(rights)}~{pattern}"
