"""Streams in Redis: the outbox to the ledger, refused calls, and orders between the gate's processes (SIP.md 2).

The outbox is read from its beginning and entries go only after the ledger's commit, so a settler that dies anywhere
simply reads them again; the ledger knows a charge id that it has (MONEY 4).
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast

from redis.exceptions import NoScriptError

from gateway.call.record import CallRecord, decode_record
from gateway.call.records import invited_tariff, rates_told
from gateway.credit import lua
from gateway.credit.client import Client
from gateway.credit.keys import DIRECTORY_KEY, PartitionKeys, orders_key
from gateway.credit.orders import Booked, Order, decode_order, encode_order
from gateway.credit.requests import read_tariff
from gateway.credit.views import OutboxEntry, OutboxState, RefusedEntry
from policy.drawn import Minutes, money_ms, money_tariff, read_minutes, read_spent
from rating.tariff import MS_PER_S, billed_s

MARKER_S: Final = 24 * 3600
"""How long the marker of a call outlives the booking of its charge (MONEY 3)."""

ORDERS_MAX: Final = 10_000
"""Orders kept for one worker: minutes of bookings at the highest rate.  A worker that lags so far behind keeps
charges longer than it needs to, and nothing is lost."""

ORDERS_EXPIRE_S: Final = 3600
"""A stream that nobody has written for an hour goes: its worker is long gone or has read it."""

LATE: Final = ":late"
"""Behind the call id: the id of the charge for talk that was proven after a sweep (MONEY 5)."""

AT_ONCE: Final = 500
"""Commands in one pipeline: some 100 kB of replies, so that no other client of Redis waits long behind them."""

BOOKED_AT_ONCE: Final = 500
"""Ids in one order: about 18 kB."""

FORGOTTEN_AT_ONCE: Final = 250
"""Entries that one script takes away: a third of a millisecond, in which Redis does nothing else."""

_T = TypeVar("_T")


class Streams(ABC):
    """What :class:`~gateway.credit.admin.CreditAdmin` does with streams."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @abstractmethod
    async def _live_workers(self) -> list[str]: ...

    async def _pipelined(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Replies to many commands, each on keys of one partition."""
        replies: list[Any] = []
        for some in _batches(commands, AT_ONCE):
            pipeline = self._client.pipeline()
            for words in some:
                pipeline.execute_command(*words)
            replies.extend(await pipeline.execute())
        return replies

    # The outbox

    async def read_outbox(self, count: int = 100, block_s: float = 0.0) -> list[OutboxEntry]:
        """Unbooked entries, oldest first, at most ``count`` of each partition; waits up to ``block_s`` for one (in a
        cluster it does not wait: no command asks more than one partition there)."""
        places = {keys.number: keys.outbox for keys in self._client.keys.partitions}
        return [outbox_entry(*entry) for entry in await self._first_of(places, count, block_s)]

    async def trim_outbox(self, entries: Sequence[OutboxEntry]) -> None:
        """Remove entries that the ledger has committed; their markers live for another 24 h."""
        partitions = self._client.keys.partitions
        by_partition: dict[int, list[OutboxEntry]] = defaultdict(list)
        for entry in entries:
            by_partition[entry.partition].append(entry)
        rows = [
            self._forgetting(partitions[number], some)
            for number, whole in by_partition.items()
            for some in _batches(whole, FORGOTTEN_AT_ONCE)
        ]
        async with self._client.asking() as redis:
            try:
                await self._pipelined(rows)
            except NoScriptError:  # new to this Redis, or flushed; said twice it does no more
                await redis.script_load(lua.FORGET.text)
                await self._pipelined(rows)

    def _forgetting(self, keys: PartitionKeys, entries: Sequence[OutboxEntry]) -> tuple[Any, ...]:
        """The command that takes entries away, which follow one another in their outbox."""
        markers = [self._marker(entry) for entry in entries]
        ids = [entry.entry_id for entry in entries]
        last = last_entries(entries)[keys.number]
        return ("EVALSHA", lua.FORGET.sha, 2 + len(markers), keys.outbox, keys.booked, *markers, last, MARKER_S, *ids)

    async def outbox_state(self) -> OutboxState:
        """How many entries wait and since when."""
        partitions = self._client.keys.partitions
        async with self._client.asking():
            lengths = await self._pipelined(("XLEN", keys.outbox) for keys in partitions)
            waiting = [keys for keys, length in zip(partitions, lengths, strict=True) if length]
            oldest = await self._pipelined(("XRANGE", keys.outbox, "-", "+", "COUNT", 1) for keys in waiting)
        moments = [_unix_ms(some[0][0]) for some in oldest if some]
        return OutboxState(sum(lengths), min(moments, default=None))

    def _marker(self, entry: OutboxEntry) -> str:
        keys = self._client.keys.partitions[entry.partition]
        if entry.kind == "withdraw":
            return keys.withdrawal(entry.charge_id)
        return keys.call(entry.charge_id.removesuffix(LATE))

    # Refused calls

    async def read_refused(self, count: int = 100) -> list[RefusedEntry]:
        """Refused calls that wait to be written down, at most ``count`` of each partition."""
        places = {keys.number: keys.refused for keys in self._client.keys.partitions}
        entries: list[RefusedEntry] = []
        for number, entry_id, fields in await self._first_of(places, count):
            tenant_id = fields.get(b"tenant", b"").decode("utf-8", "replace")
            entries.append(RefusedEntry(number, entry_id.decode(), tenant_id, fields.get(b"record", b"")))
        return entries

    async def trim_refused(self, entries: Sequence[RefusedEntry]) -> None:
        """Remove refused calls that are written down."""
        partitions = self._client.keys.partitions
        ids: dict[int, list[str]] = defaultdict(list)
        for entry in entries:
            ids[entry.partition].append(entry.entry_id)
        async with self._client.asking():
            await self._pipelined(("XDEL", partitions[number].refused, *some) for number, some in ids.items())

    # Orders to workers

    async def send_order(self, worker: str, order: Order) -> None:
        """Give one worker (``node/slot``) an order."""
        await self._send_orders([(worker, order)])

    async def broadcast_order(self, order: Order) -> None:
        """Give every live worker an order."""
        await self._send_orders([(worker, order) for worker in await self._live_workers()])

    async def announce_booked(self, entries: Iterable[OutboxEntry]) -> None:
        """Tell the workers that keep these charges that the ledger has them."""
        owned: dict[str, list[str]] = defaultdict(list)
        for entry in entries:
            if entry.owner:
                owned[entry.owner].append(entry.charge_id.removesuffix(LATE))
        await self._send_orders(
            [
                (owner, Booked(tuple(ids[start : start + BOOKED_AT_ONCE])))
                for owner, ids in owned.items()
                for start in range(0, len(ids), BOOKED_AT_ONCE)
            ]
        )

    async def _send_orders(self, orders: Sequence[tuple[str, Order]]) -> None:
        commands: list[tuple[Any, ...]] = []
        for worker, order in orders:
            fields = [word for pair in encode_order(order).items() for word in pair]
            commands.append(("XADD", orders_key(worker), "MAXLEN", "~", ORDERS_MAX, "*", *fields))
            commands.append(("EXPIRE", orders_key(worker), ORDERS_EXPIRE_S))
        async with self._client.asking():
            await self._pipelined(commands)

    async def read_orders(self, worker: str, after: str = "0-0", block_s: float = 0.0) -> list[tuple[str, Order]]:
        """Orders of a worker after entry id ``after``, each with its id; waits up to ``block_s`` for one."""
        async with self._client.asking(extra_s=block_s):
            reply = await self._read({orders_key(worker): after}, ORDERS_MAX, block_s)
        orders = []
        for _, some in reply:
            for entry_id, fields in some:
                order = decode_order({key.decode(): value.decode() for key, value in fields.items()})
                if order is not None:
                    orders.append((entry_id.decode(), order))
        return orders

    async def trim_orders(self, worker: str, up_to: str) -> None:
        """Forget a worker's orders up to and with this entry id: they are carried out."""
        milliseconds, _, sequence = up_to.partition("-")
        async with self._client.asking() as redis:
            words = ("XTRIM", orders_key(worker), "MINID", f"{milliseconds}-{int(sequence or 0) + 1}")
            await redis.execute_command(*words)

    # The directory's version

    async def publish_directory(self, version: int) -> None:
        """Say that the ledger has directory ``version``; never goes back."""
        async with self._client.asking():
            await self._client.call(lua.PUBLISH, [DIRECTORY_KEY], [version])

    async def directory_version(self) -> int:
        """The version published last; 0 before the first."""
        async with self._client.asking() as redis:
            return int(await cast(Awaitable[bytes | None], redis.get(DIRECTORY_KEY)) or 0)

    async def _first_of(
        self, places: dict[int, str], count: int, block_s: float = 0.0
    ) -> list[tuple[int, bytes, dict[bytes, bytes]]]:
        """Partition, id and fields of the first ``count`` entries of each of these streams."""
        if self._client.in_pieces:
            async with self._client.asking():
                replies = await self._pipelined(("XRANGE", key, "-", "+", "COUNT", count) for key in places.values())
            found = zip(places, replies, strict=True)
        else:
            numbers = {key.encode(): number for number, key in places.items()}
            async with self._client.asking(extra_s=block_s):
                reply = await self._read(dict.fromkeys(places.values(), "0-0"), count, block_s)
            found = ((numbers[name], some) for name, some in reply)  # type: ignore[assignment]
        return [(number, *entry) for number, some in found for entry in some]

    async def _read(self, places: dict[str, str], count: int, block_s: float) -> list[Any]:
        block_ms = max(1, round(block_s * MS_PER_S)) if block_s > 0 else None
        reading = self._client.redis.xread(places, count=count, block=block_ms)
        return await cast(Awaitable[list[Any] | None], reading) or []


def last_entries(entries: Iterable[OutboxEntry]) -> dict[int, str]:
    """By partition, the id of the last of these entries."""
    last: dict[int, str] = {}
    for entry in entries:
        if entry.partition not in last or _moment(entry.entry_id) > _moment(last[entry.partition]):
            last[entry.partition] = entry.entry_id
    return last


def _moment(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _batches(things: Iterable[_T], count: int) -> Iterator[list[_T]]:
    batch: list[_T] = []
    for thing in things:
        batch.append(thing)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def _unix_ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def outbox_entry(partition: int, entry_id: bytes, fields: dict[bytes, bytes]) -> OutboxEntry:
    """One stream entry; one that cannot be read must not hide those behind it, so it comes as ``broken``."""
    try:
        return _outbox_entry(partition, entry_id, fields)
    except (KeyError, ValueError, IndexError, TypeError):
        return OutboxEntry(partition, entry_id.decode(), "broken", "", "", 0, repr(fields).encode(), "")


def _outbox_entry(partition: int, entry_id: bytes, fields: dict[bytes, bytes]) -> OutboxEntry:
    """Of a swept call the record is completed here, of a late charge it is reduced to what the sweep had not."""
    charge_id, _, tenant_id = fields[b"call"].decode().partition(" ")
    kind, record = fields[b"kind"].decode(), fields[b"record"]
    minutes = read_minutes(fields.get(b"pools", b"").decode())
    if kind == "sweep":
        record = _swept_record(record, fields, minutes)
    elif kind == "late":
        kind, charge_id = "settle", charge_id + LATE
        record = _late_record(record, charge_id, fields, minutes)
    return OutboxEntry(
        partition=partition,
        entry_id=entry_id.decode(),
        kind=kind,  # type: ignore[arg-type]
        charge_id=charge_id,
        tenant_id=tenant_id,
        charge_micros=int(fields[b"charge"]),
        record=record,
        owner=fields[b"owner"].decode(),
        minutes=minutes,
        spent=read_spent(fields.get(b"spent", b"").decode()),
    )


def _swept_record(usage: bytes, fields: dict[bytes, bytes], minutes: Sequence[Minutes]) -> bytes:
    """The record of a call that nobody ended: what its owner had stored of it, and what the sweep knows."""
    try:
        record = decode_record(usage)
    except ValueError:
        return usage
    drawn = fields.get(b"drawn", b"").decode()
    known = read_tariff(fields[b"tariff"].decode())
    tariff, record.rates = money_tariff(known, drawn), rates_told(known, invited_tariff(known, record))
    record.answered_ms = int(fields[b"answered_ms"])
    record.talk_ms = int(fields[b"talk_s"]) * MS_PER_S
    record.ended_ms = record.answered_ms + record.talk_ms if record.answered_ms else 0
    record.charge_micros = int(fields[b"charge"])
    _count_minutes(record, minutes)
    if tariff is not None and record.answered_ms:
        paid_ms = money_ms(drawn, record.talk_ms)
        record.billed_s = 0 if paid_ms is None else billed_s(tariff, paid_ms)
    record.reason, record.ended_by = "INTERNAL", "gate"
    return record.encode()


def _late_record(whole: bytes, charge_id: str, fields: dict[bytes, bytes], minutes: Sequence[Minutes]) -> bytes:
    """The record of the talk that the sweep did not know of, so that both together are the call, once."""
    try:
        record = decode_record(whole)
    except ValueError:
        return whole
    drawn, swept_ms = fields.get(b"drawn", b"").decode(), int(fields[b"talk_s"]) * MS_PER_S
    tariff = money_tariff(read_tariff(fields[b"tariff"].decode()), drawn)
    record.call_id = charge_id
    record.talk_ms = max(0, record.talk_ms - swept_ms)
    if tariff is not None:
        paid_ms = money_ms(drawn, swept_ms)
        if paid_ms is not None:  # the sweep has charged for that, and the connect fee with it
            record.billed_s = max(0, record.billed_s - billed_s(tariff, paid_ms))
            record.connect_micros = 0
    record.charge_micros = int(fields[b"charge"])
    _count_minutes(record, minutes)
    return record.encode()


def _count_minutes(record: CallRecord, minutes: Sequence[Minutes]) -> None:
    record.pool = minutes[0].pool if minutes else ""
    record.pool_minutes = sum(each.minutes for each in minutes)
