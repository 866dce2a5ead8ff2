"""What the rebuild of a lost Redis does in Redis: move its epochs, hear what workers said, set accounts (MONEY 6).

Loud and stupid: what is to be set is decided in ``gateway.settlement.rebuild``.  Every change is one script for each
key, fenced by an epoch that only the rebuild's leader moves, so that a leader who was overtaken changes nothing more;
they leave in pipelines, for ten thousand accounts are restored in a second.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from gateway.credit import lua
from gateway.credit.client import PartitionsChangedError, StoreStaleError
from gateway.credit.keys import (
    COUNTING,
    DOUBTFUL_KEY,
    HEARD_KEY,
    NEWEST_KEY,
    PARTITIONS_KEY,
)
from gateway.credit.lua import Script
from gateway.credit.streams import MARKER_S, Streams
from gateway.credit.views import BookedCall, Reservation, Restored, SaidCharge

BOOKED: Final = "booked"
SWEPT: Final = "sweep"


class Repairs(Streams):
    """What :class:`~gateway.credit.admin.CreditAdmin` does for a rebuild; raises as it does."""

    async def fix_partitions(self) -> None:
        """Remember the number of partitions; raises PartitionsChangedError where this Redis has another one."""
        wanted = len(self._client.keys.partitions)
        async with self._client.asking() as redis:
            await redis.set(PARTITIONS_KEY, wanted, nx=True)
            stored = int(await cast(Awaitable[bytes], redis.get(PARTITIONS_KEY)))
        if stored != wanted:
            text = f"this Redis was first used with {stored} partitions, not {wanted}: that never changes"
            raise PartitionsChangedError(text)

    # epochs

    async def epochs(self) -> list[str]:
        """The epoch of each partition as it is stored; empty where it has none."""
        async with self._client.asking():
            replies = await self._pipelined(("GET", keys.epoch) for keys in self._client.keys.partitions)
        return ["" if reply is None else reply.decode() for reply in replies]

    async def move_epochs(self, believed: Sequence[str], new: str) -> None:
        """Set the epoch of every partition that is not ``new`` already, from what is ``believed`` of it.

        Raises StoreStaleError where one is something else: another leader is at work, or Redis lost its memory again.
        """
        partitions = self._client.keys.partitions
        moving = [(keys, old) for keys, old in zip(partitions, believed, strict=True) if old != new]
        rows = [([keys.epoch, keys.opened], [old, new]) for keys, old in moving]
        replies = await self._scripted(lua.OPEN_EPOCH, rows)
        if any(reply[0] != b"OPENED" for reply in replies):
            raise StoreStaleError(f"Redis did not stay as it was on its way to epoch {new!r}: look again")

    async def announce_epoch(self, number: int) -> None:
        """Tell the workers, who look a few times a second, that an epoch has begun."""
        async with self._client.asking() as redis:
            await redis.set(NEWEST_KEY, number)

    async def newest_epoch(self) -> int:
        """The newest epoch that was announced; 0 where Redis knows of none."""
        async with self._client.asking() as redis:
            return int(await cast(Awaitable[bytes | None], redis.get(NEWEST_KEY)) or 0)

    async def heard(self) -> dict[str, int]:
        """By worker (``node/slot``), the epoch in which it has said everything it knows."""
        async with self._client.asking() as redis:
            said = await cast(Awaitable[dict[bytes, bytes]], redis.hgetall(HEARD_KEY))
        return {worker.decode(): int(number) for worker, number in said.items()}

    # evidence

    async def lost_marks(self, marks: Mapping[int, str]) -> list[int]:
        """Partitions that lack writes: they neither have this outbox entry still nor know that it was booked last."""
        asked = [(self._client.keys.partitions[number], mark) for number, mark in marks.items()]
        async with self._client.asking():
            booked = await self._pipelined(("GET", keys.booked) for keys, _ in asked)
            waiting = await self._pipelined(("XRANGE", keys.outbox, mark, mark) for keys, mark in asked)
        return [
            keys.number
            for (keys, mark), noted, entry in zip(asked, booked, waiting, strict=True)
            if not entry and (noted is None or noted.decode() != mark)
        ]

    async def note_marks(self, marks: Mapping[int, str]) -> None:
        """What a rebuild has made good is evidence of a loss no more."""
        async with self._client.asking():
            partitions = self._client.keys.partitions
            await self._pipelined(("SET", partitions[number].booked, mark) for number, mark in marks.items())

    # what is left, and what was said

    async def reservations(self) -> list[Reservation]:
        """Every call that has a lease and is not over, in no order."""
        async with self._client.asking():
            asked = (("ZRANGE", keys.leases, 0, -1) for keys in self._client.keys.partitions)
            leases = [
                (keys, *_parts(member))
                for keys, members in zip(self._client.keys.partitions, await self._pipelined(asked), strict=True)
                for member in members
            ]
            reading = (("HMGET", keys.call(call_id), "held", "drawn") for keys, call_id, _ in leases)
            calls = await self._pipelined(reading)
        return [
            Reservation(keys.number, call_id, tenant_id, int(micros), (drawn or b"").decode())
            for (keys, call_id, tenant_id), (micros, drawn) in zip(leases, calls, strict=True)
            if micros is not None
        ]

    async def said_charges(self, numbers: Iterable[int] | None = None) -> list[SaidCharge]:
        """Charges that workers said again and nobody has judged yet, of these partitions (None: all)."""
        every = self._client.keys.partitions
        partitions = every if numbers is None else [every[number] for number in numbers]
        async with self._client.asking():
            replies = await self._pipelined(("HGETALL", keys.said) for keys in partitions)
        return [
            SaidCharge(keys.number, *_parts(member), int(charge))
            for keys, reply in zip(partitions, replies, strict=True)
            for member, charge in _fields(reply)
        ]

    async def take_doubtful(self) -> list[int]:
        """Partitions in which charges were said after the rebuild; until they are judged their workers repeat them."""
        async with self._client.asking() as redis:
            numbers = await cast(Awaitable[set[bytes]], redis.smembers(DOUBTFUL_KEY))
            if numbers:
                await redis.srem(DOUBTFUL_KEY, *numbers)
        return sorted(int(number) for number in numbers if int(number) < len(self._client.keys.partitions))

    # what is decided

    async def mark_booked(self, calls: Sequence[BookedCall], epoch: str) -> None:
        """These calls are over and nothing is taken for them: the ledger has their charges."""
        await self._fenced(
            lua.MARK,
            [(self._places(call), _member(call), *_marker(call), MARKER_S) for call in calls],
            epoch,
        )

    async def clear(self, charges: Sequence[SaidCharge], epoch: str, number: int) -> None:
        """These charges may be taken in the epoch ``number``: the ledger has not got them."""
        rows: list[tuple[Any, ...]] = []
        for charge in charges:
            keys = self._client.keys.partitions[charge.partition]
            rows.append(([keys.epoch, keys.call(charge.call_id), keys.said], number, _member(charge), MARKER_S))
        await self._fenced(lua.CLEAR, rows, epoch)

    async def restore(self, accounts: Iterable[Restored], number: int) -> None:
        """Set accounts while epoch ``number`` is counted."""
        rows: list[tuple[Any, ...]] = []
        for each in accounts:
            keys = self._client.keys.tenant(each.tenant_id)
            places = [keys.partition.epoch, keys.account]
            rows.append((places, each.balance_micros, each.held_micros, each.calls, each.seq))
        await self._fenced(lua.RESTORE, rows, f"{number}{COUNTING}")

    async def recount(self, counters: Mapping[str, Mapping[str, int]], number: int) -> None:
        """Set the counters of tenants, by their fields (scripts/lib/drawn.lua), while epoch ``number`` is counted."""
        rows: list[tuple[Any, ...]] = []
        for tenant_id, fields in counters.items():
            keys = self._client.keys.tenant(tenant_id)
            words = [word for field in fields.items() for word in field]
            rows.append(([keys.partition.epoch, keys.counters], *words))
        await self._fenced(lua.RECOUNT, rows, f"{number}{COUNTING}")

    async def forget_counters(self, tenant_ids: Iterable[str], is_over: Callable[[str], bool]) -> int:
        """Take away the counters of periods that are over, by their fields; how many."""
        keys = [self._client.keys.tenant(tenant_id).counters for tenant_id in tenant_ids]
        async with self._client.asking():
            replies = await self._pipelined(("HKEYS", key) for key in keys)
            gone = [
                (key, [field for field in fields if is_over(field.decode())])
                for key, fields in zip(keys, replies, strict=True)
            ]
            await self._pipelined(("HDEL", key, *fields) for key, fields in gone if fields)
        return sum(len(fields) for _, fields in gone)

    async def remember_withdrawals(self, taken: Iterable[tuple[str, str, int]], number: int) -> None:
        """Tenant, id and amount of withdrawals that the ledger has: said again in epoch ``number`` none takes more."""
        rows: list[tuple[Any, ...]] = []
        for tenant_id, charge_id, micros in taken:
            keys = self._client.keys.partition(tenant_id)
            rows.append(([keys.epoch, keys.withdrawal(charge_id)], number, micros, MARKER_S))
        await self._fenced(lua.WITHDRAWN, rows, f"{number}{COUNTING}")

    def _places(self, call: BookedCall) -> list[str]:
        keys = self._client.keys.partitions[call.partition]
        tenant = self._client.keys.tenant(call.tenant_id)
        return [keys.epoch, tenant.account, keys.call(call.call_id), keys.leases, keys.said, tenant.counters]

    async def _fenced(self, script: Script, rows: Sequence[tuple[Any, ...]], epoch: str) -> None:
        replies = await self._scripted(script, [(places, [epoch, *args]) for places, *args in rows])
        if any(reply[0] == b"STALE" for reply in replies):
            raise StoreStaleError(f"epoch {epoch} was left while Redis was rebuilt: look again")

    async def _scripted(self, script: Script, rows: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run a script for each row of keys and arguments; each row's keys are of one partition."""
        if not rows:
            return []
        async with self._client.asking() as redis:
            await redis.script_load(script.text)
            return await self._pipelined(("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in rows)


def _fields(reply: Any) -> list[tuple[bytes, bytes]]:
    """A hash, however this version of redis-py gives it: as a dictionary, or its words one after the other."""
    if isinstance(reply, dict):
        return list(reply.items())
    return list(zip(reply[::2], reply[1::2], strict=True))


def _parts(member: bytes) -> tuple[str, str]:
    call_id, _, tenant_id = member.decode().partition(" ")
    return call_id, tenant_id


def _member(call: BookedCall | SaidCharge) -> str:
    return f"{call.call_id} {call.tenant_id}"


def _marker(call: BookedCall) -> tuple[str, int, int]:
    return (SWEPT if call.swept else BOOKED, call.charge_micros, call.talk_s)
