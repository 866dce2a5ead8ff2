"""The tables of the transaction machines, and all of them together on bad links."""

import pytest

from gateway.sip import transaction
from gateway.sip.events import AckMissing, InviteArrived, RequestArrived
from gateway.sip.transaction import (
    CLIENT_END,
    CLIENT_RETRY,
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    SERVER_END,
    SERVER_RETRY,
)
from tests.gateway.sip.link import Link


@pytest.mark.parametrize("seed", range(60))
def test_on_a_bad_link_each_side_still_hears_of_everything_once(seed: int) -> None:
    link = Link(seed=seed, loss=0.3, repeat=0.3, jitter_s=0.3)
    link.invite()
    link.run(20.0)
    assert len(link.bob.got(InviteArrived)) == 1, "an INVITE that came several times made several calls"
    if seed % 3 == 0:
        link.answer(486)
    else:
        link.answer(180)
        link.run(link.now + 1.0)
        link.answer(200)
        for _ in range(100):
            link.run(link.now + 0.25)
            if link.ann.statuses()[-1:] == [200] and not link.acks():
                link.acknowledge()
    link.run(link.now + 70.0)
    answered = link.ann.statuses()
    assert answered.count(486) == (1 if seed % 3 == 0 else 0)
    assert (200 in answered) is (seed % 3 != 0)
    assert bool(link.acks()) is (seed % 3 != 0)
    assert link.bob.got(AckMissing) == []
    link.ask()
    link.run(link.now + 16.0)
    assert len(link.bob.got(RequestArrived)) == 1
    link.answer(200)
    link.run(link.now + 200.0)
    assert (link.ann.endpoint.load, link.bob.endpoint.load) == (0, 0)
    assert (len(link.ann.deadlines), len(link.bob.deadlines)) == (0, 0)


@pytest.mark.parametrize("table", [INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER])
def test_tables_lead_from_state_to_state_and_end(table: dict[str, dict[str, tuple[str, object]]]) -> None:
    assert table[transaction.TERMINATED] == {}
    for state, events in table.items():
        for row in events.values():
            assert row[0] in table
        if state != transaction.TERMINATED:
            assert any(row[0] != state for row in events.values()), f"no way out of {state}"


def test_every_timer_of_the_tables_is_told_by_its_state() -> None:
    machines = [
        (INVITE_CLIENT, CLIENT_RETRY[True], CLIENT_END[True]),
        (NON_INVITE_CLIENT, CLIENT_RETRY[False], CLIENT_END[False]),
        (INVITE_SERVER, SERVER_RETRY[True], SERVER_END[True]),
        (NON_INVITE_SERVER, SERVER_RETRY[False], SERVER_END[False]),
    ]
    letters = set()
    for table, retry, end in machines:
        named = {(state, timer) for states in (retry, end) for state, timer in states.items()}
        timers = {
            value for name, value in vars(transaction).items() if name.startswith("TIMER_") or name == "CANCEL_TIMEOUT"
        }
        used = {(state, event) for state, events in table.items() for event in events if event in timers}
        assert named == used
        letters |= {timer for _, timer in used}
    assert letters >= set("ABDEFGHIJKLM")  # C is a proxy's
