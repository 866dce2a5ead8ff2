import asyncio

from gateway.sip.deadlines import Deadlines
from gateway.transport.clock import DEADLINES_PER_TURN, Clock


def nothing(now: float) -> None:
    pass


def test_a_step_of_the_wall_clock_moves_no_stored_moment() -> None:
    wall = [1_700_000_000.0]
    clock = Clock(Deadlines(), nothing, monotonic=lambda: 50.0, wall_s=lambda: wall[0])
    before = clock.unix_ms(60.0)
    wall[0] += 3600
    assert clock.unix_ms(60.0) == before == 1_700_000_010_000


async def test_deadlines_fire_in_order_and_never_early() -> None:
    fired: list[tuple[str, float]] = []
    deadlines, done, turns = Deadlines(), asyncio.Event(), []
    clock = Clock(deadlines, turns.append)
    start = clock.monotonic()

    def last(now: float) -> None:
        fired.append(("late", now))
        done.set()

    deadlines.at(start + 0.03, last)
    deadlines.at(start + 0.01, lambda now: fired.append(("early", now)))
    clock.start()
    await asyncio.wait_for(done.wait(), 5)
    clock.stop()
    assert [name for name, _ in fired] == ["early", "late"]
    assert fired[0][1] >= start + 0.01
    assert fired[1][1] >= start + 0.03
    assert turns


async def test_an_earlier_deadline_set_later_fires_first() -> None:
    deadlines, done = Deadlines(), asyncio.Event()
    clock = Clock(deadlines, nothing)
    deadlines.at(clock.monotonic() + 3600, nothing)
    clock.start()
    deadlines.at(clock.monotonic() + 0.005, lambda now: done.set())
    clock.arm()
    await asyncio.wait_for(done.wait(), 5)
    clock.stop()


async def test_a_cancelled_deadline_does_not_stop_the_next() -> None:
    deadlines, done = Deadlines(), asyncio.Event()
    clock = Clock(deadlines, nothing)
    first = deadlines.at(clock.monotonic() + 0.005, nothing)
    deadlines.at(clock.monotonic() + 0.01, lambda now: done.set())
    clock.start()
    deadlines.cancel(first)
    await asyncio.wait_for(done.wait(), 5)
    clock.stop()


async def test_many_at_once_leave_turns_for_the_sockets() -> None:
    deadlines, done, between = Deadlines(), asyncio.Event(), []
    clock = Clock(deadlines, lambda now: between.append(len(deadlines)))
    for _ in range(DEADLINES_PER_TURN * 2):
        deadlines.at(clock.monotonic(), nothing)
    deadlines.at(clock.monotonic(), lambda now: done.set())
    clock.start()
    await asyncio.wait_for(done.wait(), 5)
    clock.stop()
    assert between[:2] == [DEADLINES_PER_TURN + 1, 1]


async def test_a_deadline_that_raises_does_not_stop_the_clock() -> None:
    deadlines, done = Deadlines(), asyncio.Event()
    loop, caught = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, what: caught.append(what["exception"]))
    turns: list[float] = []
    clock = Clock(deadlines, turns.append)

    def broken(now: float) -> None:
        raise RuntimeError("broken")

    deadlines.at(clock.monotonic(), broken)
    deadlines.at(clock.monotonic() + 0.01, lambda now: done.set())
    clock.start()
    await asyncio.wait_for(done.wait(), 5)
    clock.stop()
    assert [str(error) for error in caught] == ["broken"]
    assert len(turns) == 2, "a turn ends also where a deadline raised"


async def test_a_stopped_clock_fires_nothing() -> None:
    deadlines, fired = Deadlines(), []
    clock = Clock(deadlines, nothing)
    deadlines.at(clock.monotonic() + 0.001, fired.append)
    clock.start()
    clock.stop()
    clock.arm()
    await asyncio.sleep(0.01)
    assert fired == []
