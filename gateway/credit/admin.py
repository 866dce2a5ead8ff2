"""Everything about the credit store that is not one worker's hot path: accounts, money in and out, live calls, sweep.

Who asks here (settler, command line, supervisor, admin process) may wait; what is asked is as atomic and as safe to
repeat as on the hot path, by the same scripts.  The streams between processes are in ``streams``.
"""

import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from gateway.call.record import decode_record
from gateway.credit import lua
from gateway.credit.client import (
    Client,
    PartitionsChangedError,
    StoreError,
    StoreStaleError,
    StoreUnreachableError,
)
from gateway.credit.keys import OWNERS_KEY, PartitionKeys
from gateway.credit.node import run_of
from gateway.credit.registrations import Registrations
from gateway.credit.repairs import Repairs
from gateway.credit.requests import read_tariff
from gateway.credit.streams import outbox_entry
from gateway.credit.views import (
    AccountView,
    Applied,
    Counters,
    LiveCall,
    OutboxEntry,
    Released,
    Swept,
    Withdrawn,
    WorkerView,
)

__all__ = ["CreditAdmin", "PartitionsChangedError", "StoreError", "StoreStaleError", "StoreUnreachableError"]

SWEEP_QUIET_S: Final = 30
"""After a change of epoch, after Redis was away, or after our own start nothing is swept for so long: live owners say
their calls again first (MONEY 5), and what they charged meanwhile; a gate that was down as a whole adopts its calls."""

POSTPONE_S: Final = 3600.0
"""A lease that cannot be swept (an invariant would break) is tried again after so long: a person has to look at it."""

LOOKS: Final = 20
"""How often a spending limit is tried to be released while calls of its tenant begin: each try takes a round trip and,
with ten thousand live calls, some 20 ms of Redis, so calls that begin ten times a second do not prevent it."""

_ACCOUNT_FIELDS: Final = ("balance", "held", "applied", "calls")
_LIVE_FIELDS: Final = (
    "owner", "gen", "answered_ms", "tick", "paid_s", "proven_s", "held", "tariff", "usage", "adoption", "drawn",
)  # fmt: skip


class CreditAdmin(Repairs):
    """Reads and changes the credit store for the settler, the command line, the supervisor and the admin process.

    Every method raises StoreUnreachableError where Redis is away; those that change a partition StoreStaleError
    where its epoch is not open; StoreError for what Redis refuses.
    """

    def __init__(
        self, url: str, *, partitions: int = 256, timeout_s: float = 5.0, sweep_quiet_s: int = SWEEP_QUIET_S
    ) -> None:
        super().__init__(Client(url, partitions, timeout_s))
        self.registered = Registrations(self._client)
        """Where peers have registered from."""
        self._sweep_quiet_s = sweep_quiet_s
        self._swept_run_id = ""
        self._quiet_until_s = time.monotonic() + sweep_quiet_s
        self._postponed: dict[str, float] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ping(self) -> None:
        """Raise StoreUnreachableError unless Redis answers."""
        async with self._client.asking():
            await self._client.told("server")

    async def run_id(self) -> str:
        """Which runs of Redis answer: another one may lack the last writes of the one before (MONEY 6)."""
        async with self._client.asking():
            server, replication = await self._client.told("server"), await self._client.told("replication")
        return ",".join(run_of({**one, **other}) for one, other in zip(server, replication, strict=True))

    async def account(self, tenant_id: str) -> AccountView:
        """One tenant's account; all zero where Redis has none."""
        return (await self.accounts([tenant_id]))[0]

    async def accounts(self, tenant_ids: Iterable[str]) -> list[AccountView]:
        """Accounts in the order of the ids."""
        tenant_ids = list(tenant_ids)
        asked = (("HMGET", self._client.keys.tenant(tenant_id).account, *_ACCOUNT_FIELDS) for tenant_id in tenant_ids)
        async with self._client.asking():
            replies = await self._pipelined(asked)
        return [_account(tenant_id, reply) for tenant_id, reply in zip(tenant_ids, replies, strict=True)]

    async def counters(self, tenant_id: str) -> Counters:
        """What the tenant's pools and limits have given by now."""
        async with self._client.asking() as redis:
            reply = await cast(
                Awaitable[dict[bytes, bytes]], redis.hgetall(self._client.keys.tenant(tenant_id).counters)
            )
        return _counters({field.decode(): int(value) for field, value in reply.items() if value.isdigit()})

    async def open_range(self, tenant_id: str, prefix: str, day: str) -> bool:
        """Open a range that was closed on that day; False where it is not closed.  Numbers are counted anew."""
        async with self._client.asking() as redis:
            field = f"closed {prefix} {day}"
            gone = redis.hdel(self._client.keys.tenant(tenant_id).counters, field)
            return bool(await cast(Awaitable[int], gone))

    async def start_anew(self, tenant_id: str, scope: str, label: str) -> Released:
        """Count a spending limit ``SCOPE/PERIOD`` anew in its hour, day or month: what is spent counts no more, what
        live calls hold still does.

        Raises StoreError where calls began each time between the look at them and the script (LOOKS tries).
        """
        keys = self._client.keys.tenant(tenant_id)
        leases = keys.partition.leases
        async with self._client.asking() as redis:
            for _ in range(LOOKS):
                members = [each.decode() for each in await cast(Awaitable[list[bytes]], redis.zrange(leases, 0, -1))]
                mine = [member for member in members if _tenant_of(member) == tenant_id]
                places = [keys.counters, leases, *(keys.partition.call(_call_of(member)) for member in mine)]
                words: list[str | bytes | int] = [tenant_id, f"{scope} {label}", *mine]
                reply = await self._client.call_in(keys.partition, lua.ANEW, places, words)
                if reply[0] == b"ANEW":
                    return Released(*reply[1:])
        raise StoreError(f"calls of {tenant_id} begin too fast to see what they hold: try again")

    async def snapshot(self, tenant_ids: Iterable[str]) -> tuple[list[AccountView], list[OutboxEntry]]:
        """Accounts in the order of the ids, and all their outbox entries; one instant for tenants of one partition."""
        tenant_ids = list(tenant_ids)
        views: dict[str, AccountView] = {}
        entries: list[OutboxEntry] = []
        by_partition: dict[int, list[str]] = defaultdict(list)
        for tenant_id in tenant_ids:
            by_partition[self._client.keys.partition(tenant_id).number].append(tenant_id)
        async with self._client.asking():
            for number, some in by_partition.items():
                *accounts, waiting = await self._look(self._client.keys.partitions[number], some)
                views |= {each: _account(each, fields) for each, fields in zip(some, accounts, strict=True)}
                entries += (outbox_entry(number, *entry) for entry in waiting)
        return [views[tenant_id] for tenant_id in tenant_ids], [each for each in entries if each.tenant_id in views]

    async def _look(self, keys: PartitionKeys, tenant_ids: Iterable[str]) -> list[Any]:
        """The fields of each account, and at last the outbox."""
        places = [keys.outbox, *(keys.account(tenant_id) for tenant_id in tenant_ids)]
        entries, *accounts = await self._client.look(lua.LOOK, places, list(_ACCOUNT_FIELDS))
        return [*accounts, [(entry_id, dict(zip(some[::2], some[1::2], strict=True))) for entry_id, some in entries]]

    async def create_account(self, tenant_id: str, balance_micros: int, seq: int) -> bool:
        """Give a tenant an account where it has none; True where it had none.

        ``balance_micros`` is the ledger's balance as of its sequence number ``seq``: money in up to it is part of it.
        """
        keys = self._client.keys.tenant(tenant_id)
        async with self._client.asking():
            reply = await self._client.call_in(keys.partition, lua.CREATE, [keys.account], [balance_micros, seq])
        return bool(reply[0] == b"CREATED")

    async def apply_money_in(self, tenant_id: str, seq: int, amount_micros: int) -> Applied:
        """Add money that the ledger has booked under ``seq``, once; numbers of a tenant come in rising order.

        ``amount_micros`` ≥ 0.  Raises StoreError where the balance would leave the range of MONEY 1.
        """
        keys = self._client.keys.tenant(tenant_id)
        async with self._client.asking():
            reply = await self._client.call_in(keys.partition, lua.FUND, [keys.account], [seq, amount_micros])
        if reply[0] == b"ALERT":
            raise StoreError(f"{amount_micros} micro-units for {tenant_id} refused: {reply[1].decode()}")
        return Applied(reply[0] == b"APPLIED", reply[1], reply[2])

    async def withdraw(
        self, tenant_id: str, charge_id: str, amount_micros: int, record: bytes, *, exact: bool = False
    ) -> Withdrawn:
        """Take money out, at most what is available, and append it to the outbox; the same id takes once.

        ``exact``: all of it or nothing.  Where nothing is taken nothing is remembered: the same id may ask again.
        """
        keys, member = self._client.keys.tenant(tenant_id), f"{charge_id} {tenant_id}"
        places = [keys.account, keys.partition.withdrawal(charge_id), keys.partition.outbox]
        words: list[str | bytes | int] = [member, amount_micros, int(exact), record]
        async with self._client.asking():
            reply = await self._client.call_in(keys.partition, lua.WITHDRAW, places, words)
        return Withdrawn(*reply[1:])

    async def live_calls(self, tenant_id: str | None = None) -> list[LiveCall]:
        """Live calls of one tenant or of all, in no order."""
        keys = self._client.keys
        partitions = keys.partitions if tenant_id is None else [keys.partition(tenant_id)]
        async with self._client.asking():
            asked = (("ZRANGE", partition.leases, 0, -1, "WITHSCORES") for partition in partitions)
            leases = [
                (partition, *lease)
                for partition, reply in zip(partitions, await self._pipelined(asked), strict=True)
                for lease in _pairs(reply)
            ]
            if tenant_id is not None:
                leases = [lease for lease in leases if _tenant_of(lease[1]) == tenant_id]
            calls = (("HMGET", partition.call(_call_of(member)), *_LIVE_FIELDS) for partition, member, _ in leases)
            replies = await self._pipelined(calls)
        return [
            _live_call(member, lease_ms, fields)
            for (_, member, lease_ms), fields in zip(leases, replies, strict=True)
            if fields[0] is not None
        ]

    async def live_call(self, call_id: str, tenant_id: str | None = None) -> LiveCall | None:
        """One live call by its id, as :meth:`live_calls` gives it; None where no call of this id lives.

        Without the tenant each partition is asked for the call's own key, so the work does not grow with live calls.
        """
        keys = self._client.keys
        partitions = keys.partitions if tenant_id is None else [keys.partition(tenant_id)]
        async with self._client.asking() as redis:
            asked = (("HMGET", partition.call(call_id), *_LIVE_FIELDS, "done") for partition in partitions)
            replies = zip(partitions, await self._pipelined(asked), strict=True)
            # the marker of a call that was swept has an owner too
            found = [(partition, fields) for partition, (*fields, done) in replies if fields[0] and not done]
            if not found:
                return None
            partition, fields = found[0]
            member = f"{call_id} {tenant_id or _payer_of(fields)}"
            lease_ms = await redis.zscore(partition.leases, member)
        return _live_call(member, int(lease_ms or 0), fields)

    async def sweep(self, limit: int = 1000) -> list[Swept]:
        """Close calls whose lease has run out, at most ``limit``; charged up to their last proven moment (MONEY 5).

        Nothing for the quiet time after Redis was started, became another run, or could not be reached from here, nor
        after this object was made: leases ran on meanwhile, their owners' charges may still be on their way, and
        workers that start beside this process adopt their calls.  A call that cannot be closed
        comes with its ``alert`` and is left for POSTPONE_S; a partition that is not open is left out.
        """
        if await self._is_quiet():
            return []
        swept: list[Swept] = []
        shut: set[int] = set()
        for keys, member in await self._due(limit):
            if keys.number in shut:
                continue
            try:
                async with self._client.asking():
                    closed = await self._sweep_one(keys, member)
            except StoreStaleError:
                shut.add(keys.number)
                continue
            if closed is not None:
                swept.append(closed)
        return swept

    async def _is_quiet(self) -> bool:
        async with self._client.asking():
            told = await self._client.told("server")
        now_s, run_id = time.monotonic(), ",".join(str(each["run_id"]) for each in told)
        if self._swept_run_id not in {"", run_id}:
            self._quiet_until_s = now_s + self._sweep_quiet_s
        self._swept_run_id = run_id
        until_s = max(self._quiet_until_s, self._client.away_at_s + self._sweep_quiet_s)
        return now_s < until_s or min(int(each["uptime_in_seconds"]) for each in told) < self._sweep_quiet_s

    async def _due(self, limit: int) -> list[tuple[PartitionKeys, str]]:
        """Leases that have run out, the oldest of each partition first, but those that are postponed."""
        now_s, partitions = time.monotonic(), self._client.keys.partitions
        self._postponed = {member: until_s for member, until_s in self._postponed.items() if until_s > now_s}
        most = limit + len(self._postponed)
        async with self._client.asking():
            now_ms = await self._client.now_ms()
            asked = (("ZRANGEBYSCORE", keys.leases, "-inf", now_ms, "LIMIT", 0, most) for keys in partitions)
            replies = await self._pipelined(asked)
        members = ((keys, each.decode()) for keys, some in zip(partitions, replies, strict=True) for each in some)
        return [(keys, member) for keys, member in members if member not in self._postponed][:limit]

    async def _sweep_one(self, keys: PartitionKeys, member: str) -> Swept | None:
        call_id, tenant_id = _call_of(member), _tenant_of(member)
        tenant = self._client.keys.tenant(tenant_id)
        places = [tenant.account, keys.call(call_id), keys.leases, keys.outbox, keys.opened, tenant.counters]
        reply = await self._client.call_in(keys, lua.SWEEP, places, [member, self._sweep_quiet_s * 1000])
        if reply[0] == b"ALERT":
            self._postponed[member] = time.monotonic() + POSTPONE_S
            return Swept(call_id, tenant_id, 0, alert=reply[1].decode())
        return Swept(call_id, tenant_id, reply[1]) if reply[0] == b"SWEPT" else None

    async def workers(self) -> list[WorkerView]:
        """Every worker slot that was ever claimed, alive or not."""
        async with self._client.asking() as redis:
            now_ms = await self._client.now_ms()
            claims = await cast(Awaitable[dict[bytes, bytes]], redis.hgetall(OWNERS_KEY))
        return sorted(
            (_worker(name.decode(), claim.decode(), now_ms) for name, claim in claims.items()),
            key=lambda worker: (worker.node, worker.slot),
        )

    async def _live_workers(self) -> list[str]:
        return [worker.name for worker in await self.workers() if worker.alive]


def _pairs(reply: Sequence[Any]) -> Iterator[tuple[str, int]]:
    """Members and scores, however this version of redis-py gives them: as pairs or one after the other."""
    if reply and isinstance(reply[0], bytes):
        reply = list(zip(reply[::2], reply[1::2], strict=True))
    for member, score in reply:
        yield member.decode(), int(float(score))


def _call_of(member: str) -> str:
    return member.partition(" ")[0]


def _tenant_of(member: str) -> str:
    return member.partition(" ")[2]


def _payer_of(fields: Sequence[bytes | None]) -> str:
    """The tenant of a live call, as its record says; nobody where the record cannot be read."""
    try:
        return decode_record(fields[_LIVE_FIELDS.index("usage")] or b"").tenant_id
    except ValueError:
        return ""


def _account(tenant_id: str, fields: Sequence[bytes | None]) -> AccountView:
    balance, held, applied, calls = (int(value or 0) for value in fields)
    return AccountView(tenant_id, balance, held, applied, calls, exists=fields[0] is not None)


def _counters(fields: Mapping[str, int]) -> Counters:
    by_word: dict[str, dict[str, int]] = defaultdict(dict)
    for field, value in fields.items():
        word, _, rest = field.partition(" ")
        by_word[word][rest] = value
    used, held, spent, closed = (
        {(name, label): value for (name, _, label), value in
         ((key.partition(" "), value) for key, value in by_word[word].items())}
        for word in ("used", "held", "spent", "closed")
    )  # fmt: skip
    return Counters(used, held, spent, by_word["live"], closed)


def _live_call(member: str, lease_ms: int, fields: list[bytes | None]) -> LiveCall:
    owner, generation, answered_ms, tick, paid_s, proven_s, held, tariff, usage, adoption, drawn = fields
    return LiveCall(
        call_id=_call_of(member),
        tenant_id=_tenant_of(member),
        owner=(owner or b"").decode(),
        generation=int(generation or 0),
        answered_ms=int(answered_ms or 0),
        tick=int(tick or 0),
        paid_s=int(paid_s) if paid_s else None,
        proven_s=int(proven_s or 0),
        held_micros=int(held or 0),
        lease_ms=lease_ms,
        tariff=read_tariff((tariff or b"").decode()),
        usage=usage or b"",
        adoption=adoption or b"",
        drawn=(drawn or b"").decode(),
    )


def _worker(name: str, claim: str, now_ms: int) -> WorkerView:
    node, _, slot = name.rpartition("/")
    epoch, until_ms, _start, _instance = claim.split(" ", 3)
    return WorkerView(node, int(slot), int(epoch), int(until_ms) > now_ms)
