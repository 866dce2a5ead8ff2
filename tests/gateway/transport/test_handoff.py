import asyncio
import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.events import Flow
from gateway.transport.handoff import (
    HEARD,
    QUEUED_FRAMES_MAX,
    WRITE,
    Handoff,
    LiveSlots,
    call_id_of,
    frame,
    open_inbox,
    owner,
    unframe,
)

INVITE = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c\r\nCall-ID: %s\r\nCSeq: 1 INVITE\r\n\r\n"


@pytest.fixture
def live() -> Iterator[LiveSlots]:
    with tempfile.TemporaryFile() as page:
        os.truncate(page.fileno(), 4096)
        slots = LiveSlots(page.fileno(), 4)
        yield slots
        slots.close()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (INVITE % b"abc@host", b"abc@host"),
        (b"ACK sip:a SIP/2.0\r\ni:x1\r\n\r\n", b"x1"),
        (b"ACK sip:a SIP/2.0\r\ncall-id \t:  x2  \r\n\r\n", b"x2"),
        (b"ACK sip:a SIP/2.0\r\nCALL-ID:\r\n x3\r\n\r\n", b"x3"),
        (b"ACK sip:a SIP/2.0\nCall-ID: x4\n\n", b"x4"),
        (b"ACK sip:a SIP/2.0\r\nX-Call-ID: no\r\n\r\n", b""),
        (b"", b""),
    ],
)
def test_the_call_id_is_found_without_a_parse(message: bytes, expected: bytes) -> None:
    assert call_id_of(message) == expected


@given(
    st.sampled_from([HEARD, WRITE]),
    st.builds(
        Flow,
        st.sampled_from(["udp", "tcp", "tls"]),
        st.ip_addresses().map(str),
        st.integers(0, 65535),
        st.integers(0, 2**48),
    ),
    st.binary(max_size=3000),
)
def test_a_frame_says_what_was_put_in(kind: int, flow: Flow, data: bytes) -> None:
    assert unframe(frame(kind, flow, data)) == (kind, flow, data)


@pytest.mark.parametrize(
    "datagram", [b"", b"\x01\x00\x13", b"\x01\x09\x13\xc4\x00" + bytes(8), b"\x01\x00\x13\xc4\x09" + bytes(8)]
)
def test_what_is_no_frame_is_refused(datagram: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        unframe(datagram)


def test_call_ids_spread_evenly_and_the_same_everywhere() -> None:
    ids = [b"call-%d@pbx" % number for number in range(4000)]
    counts = [sum(owner(call_id, [0, 1, 2, 3]) == slot for call_id in ids) for slot in range(4)]
    assert all(850 < count < 1150 for count in counts)
    assert owner(b"call-1@pbx", [0, 1, 2, 3]) == owner(b"call-1@pbx", [3, 2, 1, 0])


def test_only_the_calls_of_a_dead_slot_move() -> None:
    ids = [b"call-%d" % number for number in range(500)]
    for call_id in ids:
        before, after = owner(call_id, [0, 1, 2, 3]), owner(call_id, [0, 1, 3])
        assert after == before or before == 2


def test_live_slots_are_what_the_supervisor_wrote(live: LiveSlots) -> None:
    assert live.list() == []
    live.set(0, True)
    live.set(3, True)
    assert live.list() == [0, 3]
    live.set(0, False)
    assert live.list() == [3]


class Worker:
    def __init__(self, slot: int, live: LiveSlots, ends: list[tuple]) -> None:  # type: ignore[type-arg]
        self.heard: list[tuple[int, Flow, bytes]] = []
        self.turn = asyncio.Event()
        others = {other: ends[other][1].dup() for other in range(len(ends)) if other != slot}
        self.handoff = Handoff(slot, live, ends[slot][0], others, self._hear, self.turn.set)
        self.handoff.open(asyncio.get_running_loop())

    def _hear(self, kind: int, flow: Flow, data: bytes) -> None:
        self.heard.append((kind, flow, data))


async def test_a_message_reaches_the_owner_of_its_call_id_wherever_it_was_read(live: LiveSlots) -> None:
    ends = [open_inbox() for _ in range(2)]
    live.set(0, True)
    live.set(1, True)
    first, second = Worker(0, live, ends), Worker(1, live, ends)
    flow = Flow("udp", "127.0.0.2", 5061, 1)
    mine = next(INVITE % b"%d" % number for number in range(99) if owner(b"%d" % number, [0, 1]) == 0)
    theirs = next(INVITE % b"%d" % number for number in range(99) if owner(b"%d" % number, [0, 1]) == 1)
    assert first.handoff.pass_on(mine, flow) is False
    assert first.handoff.pass_on(theirs, flow) is True
    assert second.handoff.pass_on(theirs, flow) is False
    await asyncio.wait_for(second.turn.wait(), 5)
    assert second.heard == [(HEARD, flow, theirs)]
    for worker in (first, second):
        worker.handoff.close()
    for _, writer in ends:
        writer.close()


async def test_what_waits_for_a_dead_worker_is_read_by_the_next(live: LiveSlots) -> None:
    ends = [open_inbox() for _ in range(2)]
    first = Worker(0, live, ends)
    flow = Flow("tcp", "127.0.0.2", 5061, (1 << 32) + 1)
    for number in range(20):  # more than net.unix.max_dgram_qlen commonly is
        first.handoff.send(1, WRITE, flow, b"%d" % number)
    second = Worker(1, live, ends)
    await asyncio.wait_for(second.turn.wait(), 5)
    assert [data for _, _, data in second.heard] == [b"%d" % number for number in range(20)]
    for worker in (first, second):
        worker.handoff.close()
    for _, writer in ends:
        writer.close()


async def test_a_full_inbox_queues_a_bounded_number_and_then_delivers(live: LiveSlots) -> None:
    ends = [open_inbox() for _ in range(2)]
    first = Worker(0, live, ends)
    flow, message = Flow("udp", "127.0.0.2", 5061, 1), b"x" * 60_000
    sent = 0
    while not first.handoff.dropped:
        first.handoff.send(1, HEARD, flow, message)
        sent += 1
    assert len(first.handoff._queues[1]) == QUEUED_FRAMES_MAX
    second = Worker(1, live, ends)
    while len(second.heard) < sent - 1:
        second.turn.clear()
        await asyncio.wait_for(second.turn.wait(), 5)
    assert first.handoff._queues == {}
    for worker in (first, second):
        worker.handoff.close()
    for _, writer in ends:
        writer.close()
