"""One heap entry a call: moments are put off without touching the heap and ring in the order of the list."""

from gateway.call.clock import Bell, CallClock
from gateway.sip.deadlines import Deadlines


def clock() -> tuple[CallClock, Deadlines, list[tuple[Bell, float]]]:
    rung: list[tuple[Bell, float]] = []
    deadlines = Deadlines()
    return CallClock(deadlines, lambda bell, now: rung.append((bell, now))), deadlines, rung


def test_rings_at_its_moment() -> None:
    waiting, deadlines, rung = clock()
    waiting.wait(Bell.MONEY, 5.0)
    deadlines.run(4.9)
    assert rung == []
    deadlines.run(5.0)
    assert rung == [(Bell.MONEY, 5.0)]
    assert deadlines.next_at() is None


def test_put_off_costs_no_new_entry() -> None:
    waiting, deadlines, rung = clock()
    waiting.wait(Bell.MONEY, 5.0)
    for later in range(6, 60):
        waiting.wait(Bell.MONEY, float(later))
    assert len(deadlines) == 1
    deadlines.run(5.0)
    assert rung == []
    assert deadlines.next_at() == 59.0


def test_an_earlier_moment_moves_the_deadline() -> None:
    waiting, deadlines, rung = clock()
    waiting.wait(Bell.LONGEST, 100.0)
    waiting.wait(Bell.MONEY, 3.0)
    assert deadlines.next_at() == 3.0
    deadlines.run(3.0)
    assert rung == [(Bell.MONEY, 3.0)]
    assert deadlines.next_at() == 100.0


def test_moments_that_come_together_ring_in_the_order_of_the_list() -> None:
    waiting, deadlines, rung = clock()
    for bell in (Bell.ENDING, Bell.SETUP, Bell.MONEY):
        waiting.wait(bell, 1.0)
    deadlines.run(2.0)
    assert rung == [(Bell.MONEY, 2.0), (Bell.SETUP, 2.0), (Bell.ENDING, 2.0)]


def test_what_is_set_while_ringing_is_kept() -> None:
    deadlines = Deadlines()
    rung: list[float] = []

    def ring(bell: Bell, now: float) -> None:
        rung.append(now)
        if len(rung) < 3:
            waiting.wait(bell, now + 1.0)

    waiting = CallClock(deadlines, ring)
    waiting.wait(Bell.MONEY, 1.0)
    for now in (1.0, 2.0, 3.0, 4.0):
        deadlines.run(now)
    assert rung == [1.0, 2.0, 3.0]
    assert len(deadlines) == 0


def test_stopped_it_rings_nothing_even_from_within_a_ring() -> None:
    deadlines = Deadlines()
    rung: list[Bell] = []

    def ring(bell: Bell, now: float) -> None:
        rung.append(bell)
        waiting.stop()

    waiting = CallClock(deadlines, ring)
    waiting.wait(Bell.MONEY, 1.0)
    waiting.wait(Bell.SETUP, 1.0)
    waiting.wait(Bell.LONGEST, 9.0)
    deadlines.run(1.0)
    deadlines.run(10.0)
    assert rung == [Bell.MONEY]
    assert len(deadlines) == 0


def test_a_bell_that_raises_keeps_no_other_from_ringing() -> None:
    deadlines, faults, rung = Deadlines(), [], []
    deadlines.on_fault = lambda fault, now: faults.append(str(fault))

    def ring(bell: Bell, now: float) -> None:
        rung.append((bell, now))
        if bell is Bell.MONEY:
            waiting.wait(Bell.ENDING, 9.0)
            raise RuntimeError("broken")

    waiting = CallClock(deadlines, ring)
    for bell in (Bell.MONEY, Bell.SETUP):
        waiting.wait(bell, 1.0)
    deadlines.run(1.0)
    assert rung == [(Bell.MONEY, 1.0), (Bell.SETUP, 1.0)]
    assert faults == ["broken"]
    deadlines.run(9.0)
    assert rung[2:] == [(Bell.ENDING, 9.0)]
    waiting.wait(Bell.SETUP, 10.0)
    assert deadlines.next_at() == 10.0
