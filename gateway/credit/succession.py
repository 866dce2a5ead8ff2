"""Taking over the live calls that a worker slot left behind, out of all partitions (SIP.md 5).

They are an older start's of one's own slot, or those of another slot that is gone for good (``heirs``).

The leases of every partition name the calls; scripts/adopt.lua fences and reads those of them that are the slot's, a
batch at a time over the worker's own connection, so that its answers come in order with those to other commands.  A
partition that is not open, or becomes another while it is read, is left for the next time; to ask again is harmless.
"""

from asyncio import gather
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from gateway.call.adoption import StoredCall
from gateway.credit import lua
from gateway.credit.keys import Keyspace, PartitionKeys
from gateway.credit.requests import MS_PER_S, read_tariff
from gateway.credit.resp import Link

CALLS_AT_ONCE: Final = 100
"""Calls of one script: about a millisecond of Redis' time, behind which every other gate's commands wait."""

SCRIPTS_AT_ONCE: Final = 8
"""Scripts under way: their answers are about a megabyte, and the oldest is answered long before the connection is
taken for dead."""


class Holder(NamedTuple):
    """A slot (``node/slot``) in one generation of it."""

    name: str
    generation: int


class Succession:
    """The partitions that have still to be looked through for calls that one slot left behind."""

    def __init__(self, keys: Keyspace, lease_grace_s: int, knows: Callable[[str], bool]) -> None:
        """``knows`` tells a call that is this process' own already, which is left as it is."""
        self.open = set(range(len(keys.partitions)))
        """Numbers of the partitions that have not been looked through."""
        self._keys = keys
        self._grace_ms = lease_grace_s * MS_PER_S
        self._knows = knows

    async def take_over(
        self, links: Sequence[Link | None], left: Holder, heir: Holder, epochs: Sequence[str]
    ) -> list[StoredCall]:
        """Every call that ``left`` had, in its generation or an older one, in partitions that are open and there.

        ``heir`` has them from now on; ``links`` and ``epochs`` are the partitions', by number.

        Raises ConnectionError where Redis goes away meanwhile and ReplyError for what it refuses; what had been taken
        over by then comes with the next asking.
        """
        ready = [
            (self._keys.partitions[number], link)
            for number in sorted(self.open)
            if epochs[number] and (link := links[number]) is not None
        ]
        members = await gather(*(link.ask("ZRANGE", keys.leases, "0", "-1") for keys, link in ready))
        asked = [
            (keys, link, some)
            for (keys, link), reply in zip(ready, members, strict=True)
            for some in _batches([each for each in map(bytes.decode, reply) if self._is_news(each)], CALLS_AT_ONCE)
        ]
        former = (left.name, left.generation) if left.name != heir.name else ("", 0)
        taken: list[StoredCall] = []
        shut: set[int] = set()
        for some in _batches(asked, SCRIPTS_AT_ONCE):
            asking = (
                link.ask(*self._words(keys, batch, left, heir, epochs[keys.number])) for keys, link, batch in some
            )
            for (keys, _, batch), reply in zip(some, await gather(*asking), strict=True):
                if reply[0] == b"ADOPTED":
                    taken += self._read(batch, reply[1:], former)
                else:
                    shut.add(keys.number)
        self.open -= {keys.number for keys, _ in ready} - shut
        return taken

    def _is_news(self, member: str) -> bool:
        return not self._knows(_split(member)[0])

    def _words(
        self, keys: PartitionKeys, members: Sequence[str], left: Holder, heir: Holder, epoch: str
    ) -> list[str | int]:
        """The script goes whole: it is needed once in a process' life, or once for a gate that died."""
        calls = [keys.call(_split(member)[0]) for member in members]
        head: list[str | int] = ["EVAL", lua.ADOPT.text, 2 + len(calls), keys.epoch, keys.leases]
        return [*head, *calls, epoch, *left, self._grace_ms, *heir, *members]

    def _read(self, members: Sequence[str], rows: Iterable[Any], former: tuple[str, int]) -> Iterator[StoredCall]:
        for member, row in zip(members, rows, strict=True):
            call_id, tenant_id = _split(member)
            if row is not None and not self._knows(call_id):
                yield _stored(call_id, tenant_id, row, former)


def _stored(call_id: str, tenant_id: str, row: Sequence[bytes | None], former: tuple[str, int]) -> StoredCall:
    tick, paid_s, held, final, tariff, lease_s, answered_ms, proven_s, usage, adoption, terms, drawn = row
    return StoredCall(
        call_id,
        tenant_id,
        tick=int(tick or 0),
        paid_s=int(paid_s) if paid_s else None,
        held_micros=int(held or 0),
        final=final == b"1",
        tariff=read_tariff((tariff or b"").decode()),
        lease_s=int(lease_s or 0),
        answered_ms=int(answered_ms or 0),
        proven_s=int(proven_s or 0),
        usage=usage or b"",
        adoption=adoption or b"",
        former=former,
        terms=(terms or b"").decode(),
        drawn=(drawn or b"").decode(),
    )


def _split(member: str) -> tuple[str, str]:
    call_id, _, tenant_id = member.partition(" ")
    return call_id, tenant_id


def _batches(things: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    return (things[start : start + count] for start in range(0, len(things), count))
