"""The deadline heap and the lines of equal delays."""

import random

import pytest

from gateway.sip.deadlines import COMPACT_ABOVE, LINE_BATCH, LINE_PAUSE_S, Deadlines, DelayLine


def test_what_is_due_fires_earliest_first_and_in_the_order_of_setting() -> None:
    deadlines, fired = Deadlines(), []
    for name, at_s in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("never", 9.0)):
        deadlines.at(at_s, lambda now, name=name: fired.append((name, now)))
    assert deadlines.next_at() == 1.0
    assert deadlines.run(5.0) == 3
    assert fired == [("first", 5.0), ("second", 5.0), ("late", 5.0)]
    assert (len(deadlines), deadlines.next_at()) == (1, 9.0)


def test_a_cancelled_deadline_does_not_fire_and_may_be_cancelled_again() -> None:
    deadlines, fired = Deadlines(), []
    entry = deadlines.at(1.0, fired.append)
    deadlines.cancel(entry)
    deadlines.cancel(entry)
    deadlines.cancel(None)
    assert (len(deadlines), deadlines.next_at(), deadlines.run(2.0), fired) == (0, None, 0, [])


def test_a_burst_leaves_the_rest_for_the_next_turn() -> None:
    deadlines, fired = Deadlines(), []
    for _ in range(5):
        deadlines.at(1.0, fired.append)
    assert [deadlines.run(1.0, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_cancelling_many_from_within_a_deadline_loses_and_repeats_nothing() -> None:
    deadlines, fired = Deadlines(), []
    many = [deadlines.at(2.0 + number, fired.append) for number in range(3 * COMPACT_ABOVE)]

    def cancel_most(now: float) -> None:
        for entry in many[1:]:
            deadlines.cancel(entry)

    deadlines.at(1.0, cancel_most)
    deadlines.at(1.5, fired.append)
    assert deadlines.run(2.0) == 3
    assert fired == [2.0, 2.0]
    assert (len(deadlines), deadlines.next_at()) == (0, None)


def test_the_heap_agrees_with_a_plain_list_whatever_happens() -> None:
    rng, deadlines, fired = random.Random(7), Deadlines(), []
    waiting: dict[int, tuple[float, list[object]]] = {}
    for step in range(20_000):
        choice = rng.random()
        if choice < 0.6:
            at_s = rng.uniform(step, step + 500)
            entry = deadlines.at(at_s, lambda now, step=step: fired.append(step))
            waiting[step] = (at_s, entry)
        elif choice < 0.9 and waiting:
            _, entry = waiting.pop(rng.choice(list(waiting)[-20:]))
            deadlines.cancel(entry)
        else:
            deadlines.run(float(step))
            due = sorted((at_s, name) for name, (at_s, _) in waiting.items() if at_s <= step)
            assert fired == [name for _, name in due]
            fired.clear()
            for _, name in due:
                del waiting[name]
        assert len(deadlines) == len(waiting)


def test_a_line_hands_out_its_items_when_they_are_due_with_one_deadline() -> None:
    deadlines, fired = Deadlines(), []
    line: DelayLine[str] = DelayLine(deadlines, 0.5, lambda item, due, now: fired.append((item, due, now)))
    assert line.add("a", 1.0) == 1.5
    line.add("b", 1.2)
    assert (len(line), len(deadlines), deadlines.next_at()) == (2, 1, 1.5)
    deadlines.run(1.6)
    assert fired == [("a", 1.5, 1.6)]
    assert deadlines.next_at() == 1.7
    deadlines.run(2.0)
    assert fired[1:] == [("b", 1.7, 2.0)]
    assert (len(line), len(deadlines)) == (0, 0)
    line.add("c", 3.0)
    assert deadlines.next_at() == 3.5


def test_a_long_line_pauses_for_the_sockets() -> None:
    deadlines, fired = Deadlines(), []
    line: DelayLine[int] = DelayLine(deadlines, 1.0, lambda item, due, now: fired.append(item))
    for number in range(LINE_BATCH + 5):
        line.add(number, 0.0)
    deadlines.run(1.0)
    assert len(fired) == LINE_BATCH
    assert deadlines.next_at() == 1.0 + LINE_PAUSE_S
    deadlines.run(1.0 + LINE_PAUSE_S)
    assert fired == list(range(LINE_BATCH + 5))


def test_an_item_may_be_added_while_the_line_is_being_emptied() -> None:
    deadlines, fired = Deadlines(), []

    def again(item: str, due: float, now: float) -> None:
        fired.append(now)
        if len(fired) < 3:
            line.add(item, now)

    line: DelayLine[str] = DelayLine(deadlines, 1.0, again)
    line.add("a", 0.0)
    for now in (1.0, 2.0, 3.0, 4.0):
        deadlines.run(now)
    assert fired == [1.0, 2.0, 3.0]
    assert len(deadlines) == 0


def broken(now: float) -> None:
    raise RuntimeError("broken")


def test_a_deadline_that_raises_is_told_of_and_the_others_fire() -> None:
    deadlines, fired, faults = Deadlines(), [], []
    deadlines.on_fault = lambda fault, now: faults.append((str(fault), now))
    for at_s, fire in ((1.0, fired.append), (2.0, broken), (3.0, fired.append)):
        deadlines.at(at_s, fire)
    assert deadlines.run(4.0) == 3
    assert fired == [4.0, 4.0]
    assert faults == [("broken", 4.0)]


def test_unless_somebody_wants_to_hear_of_it_what_a_deadline_raises_is_raised() -> None:
    deadlines, fired = Deadlines(), []
    deadlines.at(1.0, broken)
    deadlines.at(1.0, fired.append)
    with pytest.raises(RuntimeError, match="broken"):
        deadlines.run(1.0)
    assert deadlines.run(1.0) == 1
    assert fired == [1.0]


def test_an_item_that_raises_does_not_stop_its_line() -> None:
    deadlines, fired, faults = Deadlines(), [], []
    deadlines.on_fault = lambda fault, now: faults.append(now)

    def fire(item: str, due: float, now: float) -> None:
        if item == "bad":
            raise RuntimeError("broken")
        fired.append(item)

    line: DelayLine[str] = DelayLine(deadlines, 1.0, fire)
    for item in ("a", "bad", "b"):
        line.add(item, 0.0)
    deadlines.run(1.0)
    assert (fired, faults, deadlines.next_at()) == (["a"], [1.0], 1.0 + LINE_PAUSE_S)
    deadlines.run(1.0 + LINE_PAUSE_S)
    assert fired == ["a", "b"]
    line.add("bad", 2.0)
    deadlines.run(3.0)
    line.add("c", 4.0)
    deadlines.run(5.0)
    assert fired == ["a", "b", "c"]
