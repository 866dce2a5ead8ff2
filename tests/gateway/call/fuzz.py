"""Mutated SIP against a whole gate in one process: ``python -m tests.gateway.call.fuzz --count 1000000 --jobs 2``.

What is mutated are the messages that reach the gate in whole calls of every kind, and the awkward messages of the
torture set.  They come from trunks, in between calls that ring and talk with the same tags and branches, so that they
hit dialogs and transactions and not only the parser.  After each round time passes until nothing can be left: whatever
came, no exception leaves the gate, no call, transaction or hold is left over, and no money is lost.  A seed plays the
same round again.
"""

import argparse
import multiprocessing
import random
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.call.settings import CallSettings
from gateway.sip.errors import BadMessage
from gateway.sip.stream import MESSAGE_LIMIT, StreamFramer
from tests.gateway.call.world import CARRIER, OFFER, PBX, REPLY, SPARE, Options, World
from tests.gateway.sip.torture_cases import DROPPED, REFUSED, TAKEN

ROUND: Final = 250
"""Inputs between two looks at what is left: enough for some of them to meet what others made."""

BALANCE: Final = 600_000_000
"""Ten minutes of one call: calls that mutants began end by themselves before the round is looked at."""

LEFT_S: Final = 1_200.0
"""After so long every call has run out of money or rung in vain, and every transaction is forgotten."""

SOURCES: Final = (PBX, CARRIER, SPARE, ("10.9.9.9", 5060))

PIECES: Final = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b": ", b";", b",", b'"', b"<", b">", b"\r\n ", b"SIP/2.0", b"ACK", b"CANCEL",
    b"BYE", b"INVITE", b"z9hG4bK", b"tag=", b"\x00", b"\xff\xfe", b"%", b"%00", b"-1", b"0", b"4294967296", b"9" * 40,
    b"Via: SIP/2.0/UDP x\r\n", b"Require: x\r\n", b"Content-Length: 99999\r\n", b"l: 0\r\n", b";branch=", b";maddr=::1",
    b"[::1]", b"*", b"Contact: *\r\n", b"sip:", b"tel:+1", b"urn:service:sos", b"e" * 300, "é中".encode(),
)  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """What is mutated: ``calls`` are messages of whole calls, ``all`` those and the torture set."""

    calls: list[bytes]
    all: list[bytes]

    def pick(self, rng: random.Random) -> bytes:
        """One of them, half of the time of a call's, which reach furthest."""
        return rng.choice(self.calls if rng.random() < 0.5 else self.all)


def recorded() -> Corpus:
    """Each message that reaches the gate in calls of every kind, and the torture set."""
    heard: list[bytes] = []
    for play in (_hung_up, _cancelled, _refused, _moved, _failed_over, _cut):
        world = Garbled()
        play(world)
        world.run(40.0)
        heard += world.arrived
    calls = list(dict.fromkeys(heard))
    return Corpus(calls, [*calls, *(case.data for case in (*TAKEN, *REFUSED, *DROPPED))])


class Garbled(World):
    """A gate whose caller may spend ten minutes; answers to what cannot be read need not be readable themselves."""

    def __init__(self) -> None:
        super().__init__(Options(balance=BALANCE, settings=CallSettings(tick_s=10, session_expires_s=0)))

    def _note(self, source: tuple[str, int], target: tuple[str, int], data: bytes) -> None:
        pass


def _hung_up(world: World) -> None:
    dialog, _ = world.talk()
    world.caller.send(dialog, "INFO", body=b"Signal=1\r\n")
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")


def _cancelled(world: World) -> None:
    world.caller.cancel(world.ring())
    world.called.answer("INVITE", 487, tag="b1")


def _refused(world: World) -> None:
    world.ring()
    world.called.answer("INVITE", 486, tag="b1")


def _moved(world: World) -> None:
    dialog, _ = world.talk()
    world.caller.send(dialog, "INVITE", body=OFFER)
    world.called.answer("INVITE", 200, body=REPLY)
    world.caller.ack(dialog, seq=2)
    world.caller.send(dialog, "UPDATE")


def _failed_over(world: World) -> None:
    world.caller.invite()
    world.called.answer("INVITE", 503)


def _cut(world: World) -> None:
    world.talk()
    world.store.deny = "NO_CREDIT"
    world.run(20.0)
    world.ok(world.caller, "BYE")
    world.ok(world.called, "BYE")


def mutated(rng: random.Random, corpus: Corpus) -> bytes:
    """One message with one to four changes; now and then several at once or the piece of another one."""
    octets = bytearray(corpus.pick(rng))
    for _ in range(rng.randint(1, 4)):
        rng.choice(_CHANGES)(rng, octets, corpus)
    return bytes(octets[:MESSAGE_LIMIT])


def _flip(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    if octets:
        octets[rng.randrange(len(octets))] = rng.randrange(256)


def _cut_out(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    at = rng.randint(0, len(octets))
    del octets[at : at + rng.randint(1, 12)]


def _insert(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    at = rng.randint(0, len(octets))
    octets[at : at + rng.randint(0, 6)] = rng.choice(PIECES)


def _truncate(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    del octets[rng.randint(0, len(octets)) :]


def _splice(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    other = corpus.pick(rng)
    at, start = rng.randint(0, len(octets)), rng.randint(0, len(other))
    octets[at:] = other[start:]


def _repeat(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    at = rng.randint(0, len(octets))
    octets[at:at] = octets[at : at + rng.randint(1, 40)] * rng.choice((1, 2, 30))


def _lines(rng: random.Random, octets: bytearray, corpus: Corpus) -> None:
    """A line goes, comes twice, changes places, or is another message's."""
    lines = bytes(octets).split(b"\r\n")
    others = corpus.pick(rng).split(b"\r\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = rng.choice(others)
    octets[:] = b"\r\n".join(lines)


_Change = Callable[[random.Random, bytearray, Corpus], None]
_CHANGES: Final[tuple[_Change, ...]] = (_flip, _cut_out, _insert, _insert, _truncate, _splice, _repeat, _lines, _lines)


@dataclass
class Played:
    """One round: the dearest input in seconds of processor time, and what it was."""

    seed: int
    slowest_s: float = 0.0
    slowest: bytes = b""
    broke: str = ""


def play(seed: int, corpus: Corpus, inputs: int = ROUND) -> Played:
    """One round; raises whatever the gate raises, AssertionError where something is left."""
    rng, played = random.Random(seed), Played(seed)
    world = Garbled()
    world.ring()
    if rng.random() < 0.7:
        world.called.answer("INVITE", 200, tag="b1", body=REPLY)
        world.caller.ack(world.caller.dialog())
    for _ in range(inputs):
        data = mutated(rng, corpus)
        began_s = time.process_time()
        world.inject(rng.choice(SOURCES), data)
        _frame(rng, data)
        took_s = time.process_time() - began_s
        if took_s > played.slowest_s:
            played.slowest_s, played.slowest = took_s, data
        if rng.random() < 0.05:
            world.run(rng.choice((0.1, 0.6, 5.0)))
    _check_end(world)
    return played


def _frame(rng: random.Random, data: bytes) -> None:
    """The same octets on a stream, in two pieces: messages, or the one error that closes it."""
    framer, at = StreamFramer(), rng.randint(0, len(data))
    try:
        framer.feed(data[:at])
        framer.feed(data[at:])
    except BadMessage:
        return
    assert framer.pending <= MESSAGE_LIMIT


def _check_end(world: World) -> None:
    world.run(LEFT_S)
    for phone in (world.caller, world.called, world.spare):
        for transaction in [each for each in phone.waiting if not each.finished]:
            phone.say(transaction, 200 if transaction.method == "BYE" else 481)
    world.run(LEFT_S)
    assert world.is_clean(), f"{len(world.b2bua)} calls are left"
    assert world.endpoint.load == 0, f"{world.endpoint.load} transactions are left"
    assert world.store.held == {}, f"held for {list(world.store.held)}"


def attempt(asked: tuple[int, Corpus]) -> Played:
    """One round, with the story where it broke."""
    seed, corpus = asked
    try:
        return play(seed, corpus)
    except Exception:
        return Played(seed, broke=traceback.format_exc())


def main() -> int:
    """Exit status 1 where a round broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.call.fuzz")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    corpus = recorded()
    seeds = range(asked.seed, asked.seed + -(-asked.count // ROUND))
    with multiprocessing.Pool(asked.jobs) as pool:
        broke = _tell(pool.imap_unordered(attempt, ((seed, corpus) for seed in seeds), 8), len(seeds))
    print(f"most memory of one round {_peak_mb(seeds[0], corpus):.1f} MB")
    return int(broke)


def _tell(rounds: Iterable[Played], count: int) -> bool:
    slowest, broke = Played(0), 0
    began_s = time.perf_counter()
    for done, played in enumerate(rounds, start=1):
        if played.broke:
            broke += 1
            print(f"--- round {played.seed}\n{played.broke}", flush=True)
        if played.slowest_s > slowest.slowest_s:
            slowest = played
        if done % 400 == 0:
            print(f"{done * ROUND} inputs, {broke} rounds broke, {time.perf_counter() - began_s:.0f} s", flush=True)
    print(f"{count * ROUND} inputs in {count} rounds, {broke} broke; {time.perf_counter() - began_s:.0f} s")
    print(f"slowest input {slowest.slowest_s * 1000:.1f} ms: {slowest.slowest[:300]!r}")
    return broke > 0


def _peak_mb(seed: int, corpus: Corpus) -> float:
    tracemalloc.start()
    play(seed, corpus)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


if __name__ == "__main__":
    sys.exit(main())
