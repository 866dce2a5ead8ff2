"""Commands as Redis reads them: one packed EVALSHA for each, its keys and arguments in the order of the script.

Every script gets the epoch its asker believes, the owner's name and its generation; what follows stands at the head
of the script.  Amounts go over as decimal integers.
"""

from functools import lru_cache
from typing import Final

from hiredis import ReplyError

from gateway.call.commands import Answer, Prove, Refused, Release, Renew, Reserve, Settle
from gateway.credit import lua
from gateway.credit.kept import Live
from gateway.credit.keys import Keyspace
from gateway.credit.resp import pack
from rating.tariff import Step, Tariff

REFUSED_MAX: Final = 10_000
"""Refused calls kept in a partition's stream: 200 s of the most that one trunk may write (MONEY 4), about 10 MB."""

MS_PER_S: Final = 1000

SHA_DIGITS: Final = 40

_CUTTING: Final = ("LOADING", "READONLY", "MASTERDOWN", "NOAUTH", "WRONGPASS", "NOPERM")
"""Errors that say this is not, or not yet, the Redis to talk to: connect again."""

TARIFFS_KEPT: Final = 4096
"""Tariffs kept as they are written: the calls of a gate go to some hundreds of places."""

_EVALSHA: Final = b"$7\r\nEVALSHA\r\n$40\r\n"


@lru_cache(TARIFFS_KEPT)
def write_tariff(tariff: Tariff | None) -> str:
    """A tariff as scripts/lib/price.lua reads it, three numbers more for each step; empty where nobody pays."""
    if tariff is None:
        return ""
    text = (
        f"{tariff.rate_micros_per_min} {tariff.connect_micros} {tariff.first_incr_s} {tariff.next_incr_s} "
        f"{tariff.free_s} {tariff.minimum_micros}"
    )
    return text + "".join([f" {step[0]} {step[1]} {step[2]}" for step in tariff.steps])


def read_tariff(text: str) -> Tariff | None:
    """The tariff that :func:`write_tariff` wrote.  Raises ValueError for anything else."""
    if not text:
        return None
    rate, connect, first, following, free, minimum, *rest = (int(word) for word in text.split(" "))
    steps = tuple(Step(*step) for step in zip(rest[::3], rest[1::3], rest[2::3], strict=True))
    return Tariff(rate, connect, first, following, free, minimum, steps)


class Requests:
    """Packs the commands of one owner; ``generation`` is set once the slot is claimed."""

    __slots__ = ("_grace_ms", "_keys", "_owner", "generation")

    def __init__(self, keys: Keyspace, owner: str, lease_grace_s: int) -> None:
        self._keys = keys
        self._owner = owner
        self._grace_ms = lease_grace_s * MS_PER_S
        self.generation = 0

    def reserve(self, command: Reserve, epoch: str) -> bytes:
        """scripts/reserve.lua; an emergency call has no limits (SIP.md 4)."""
        keys = self._keys.tenant(command.tenant_id)
        partition, limits = keys.partition, command.limits
        limited = not command.emergency
        velocity = limits.velocity if limited else None
        watched = () if velocity is None else (partition.range(command.tenant_id, velocity.range),)
        return pack((
            "EVALSHA", lua.RESERVE.sha, 5 + len(watched),
            partition.epoch, keys.account, partition.call(command.call_id), partition.leases, keys.counters, *watched,
            epoch, self._owner, self.generation, f"{command.call_id} {command.tenant_id}",
            write_tariff(command.tariff), command.end_s, command.lease_s,
            limits.max_calls if limited and limits.max_calls is not None else "",
            limits.calls_per_second if limited and limits.calls_per_second is not None else "",
            command.adoption, command.usage, command.terms, command.hour, *(velocity or ()),
        ))  # fmt: skip

    def answer(self, command: Answer, epoch: str) -> bytes:
        """scripts/answer.lua."""
        partition = self._keys.partition(command.tenant_id)
        return pack((
            "EVALSHA", lua.ANSWER.sha, 3, partition.epoch, partition.call(command.call_id), partition.leases,
            epoch, self._owner, self.generation, f"{command.call_id} {command.tenant_id}",
            command.answered_unix_ms, self._grace_ms, command.adoption, *_resolved(command),
        ))  # fmt: skip

    def renew(self, command: Renew, epoch: str) -> bytes:
        """scripts/renew.lua."""
        keys = self._keys.tenant(command.tenant_id)
        partition = keys.partition
        return pack((
            "EVALSHA", lua.RENEW.sha, 5,
            partition.epoch, keys.account, partition.call(command.call_id), partition.leases, keys.counters,
            epoch, self._owner, self.generation, f"{command.call_id} {command.tenant_id}",
            command.tick, command.end_s, command.proven_s, self._grace_ms, command.hour, *_resolved(command),
        ))  # fmt: skip

    def prove(self, command: Prove, epoch: str) -> bytes:
        """scripts/prove.lua."""
        partition = self._keys.partition(command.tenant_id)
        return pack((
            "EVALSHA", lua.PROVE.sha, 3, partition.epoch, partition.call(command.call_id), partition.leases,
            epoch, self._owner, self.generation, f"{command.call_id} {command.tenant_id}",
            command.proven_s, self._grace_ms, command.adoption or "",
        ))  # fmt: skip

    def settle(self, command: Settle, epoch: str, *, doubtful: bool = False) -> bytes:
        """scripts/settle.lua."""
        keys = self._keys.tenant(command.tenant_id)
        partition = keys.partition
        return pack((
            "EVALSHA", lua.SETTLE.sha, 7,
            partition.epoch, keys.account, partition.call(command.call_id), partition.leases, partition.outbox,
            partition.said, keys.counters,
            epoch, self._owner, self.generation, f"{command.call_id} {command.tenant_id}",
            command.charge_micros, command.record, "1" if doubtful else "", -(-command.talk_ms // MS_PER_S),
        ))  # fmt: skip

    def release(self, command: Release, epoch: str) -> bytes:
        """scripts/release.lua."""
        keys = self._keys.tenant(command.tenant_id)
        partition = keys.partition
        return pack((
            "EVALSHA", lua.RELEASE.sha, 6,
            partition.epoch, keys.account, partition.call(command.call_id), partition.leases, partition.outbox,
            keys.counters,
            epoch, self._owner, self.generation, f"{command.call_id} {command.tenant_id}", command.record,
        ))  # fmt: skip

    def merge(self, live: Live, epoch: str, charge_micros: int | None = None) -> bytes:
        """scripts/merge.lua; with ``charge_micros`` the call is over."""
        keys = self._keys.tenant(live.tenant_id)
        partition = keys.partition
        return pack((
            "EVALSHA", lua.MERGE.sha, 6,
            partition.epoch, keys.account, partition.call(live.call_id), partition.leases, partition.said,
            keys.counters,
            epoch, self._owner, self.generation, f"{live.call_id} {live.tenant_id}",
            live.tick, "" if live.paid_s is None else live.paid_s, live.held_micros, int(live.final),
            write_tariff(live.tariff), live.lease_s, live.answered_ms or "", live.proven_s, self._grace_ms,
            live.adoption, live.usage, "" if charge_micros is None else charge_micros, *live.former,
            live.terms, live.drawn,
        ))  # fmt: skip

    def refused(self, command: Refused) -> bytes:
        """One entry of the capped stream; no script, for nothing else is touched and losing one loses no money."""
        partition = self._keys.partition(command.tenant_id)
        return pack((
            "XADD", partition.refused, "MAXLEN", "~", REFUSED_MAX, "*",
            "tenant", command.tenant_id, "record", command.record,
        ))  # fmt: skip


def _resolved(command: Answer | Renew) -> tuple[str, str | int]:
    """What scripts/lib/resolved.lua reads."""
    resolved = command.resolved
    if resolved is None:
        return "", ""
    return write_tariff(resolved.tariff), "" if resolved.paid_s is None else resolved.paid_s


def pack_claim(owner: str, instance: str, start: str, epoch: int, ttl_ms: int, owners_key: str) -> bytes:
    """scripts/claim.lua."""
    return pack(("EVALSHA", lua.CLAIM.sha, 1, owners_key, owner, instance, start, epoch, ttl_ms))


def is_noscript(reply: object) -> bool:
    """Redis has forgotten the script (SCRIPT FLUSH): say the command again :func:`with_text`."""
    return isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT")


def is_cutting(reply: object) -> bool:
    """This is not, or not yet, the Redis to talk to; 6.2 wraps what a script was refused for in a text of its own."""
    text = str(reply)
    return isinstance(reply, ReplyError) and (text.startswith(_CUTTING) or " -READONLY" in text)


def with_text(packed: bytes) -> bytes:
    """The same command as an EVAL with the script's text, which works without the script and makes it known again."""
    start = packed.index(_EVALSHA) + len(_EVALSHA)
    sha = packed[start : start + SHA_DIGITS].decode()
    text = lua.BY_SHA[sha].text.encode()
    return b"%b$4\r\nEVAL\r\n$%d\r\n%b%b" % (
        packed[: packed.index(b"\r\n") + 2], len(text), text, packed[start + SHA_DIGITS :],
    )  # fmt: skip
