"""The table itself: complete, free of dead ends, and drawn from what it says."""

import pytest

from gateway.call.call import Call
from gateway.call.states import TABLE, Happening, State, drawing

LIVE = [state for state in State if state is not State.OVER]


def test_every_state_has_a_row() -> None:
    assert set(TABLE) == set(State)
    assert TABLE[State.OVER] == {}


def test_every_action_is_a_method_of_the_call() -> None:
    actions = {action for row in TABLE.values() for action, _ in row.values()}
    assert all(callable(getattr(Call, action)) for action in actions)


@pytest.mark.parametrize("state", LIVE)
def test_every_state_leads_to_over(state: State) -> None:
    reached, frontier = {state}, [state]
    while frontier:
        for _, following in TABLE[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)
    assert State.OVER in reached


@pytest.mark.parametrize("state", [state for state in LIVE if state is not State.ENDING])
def test_the_gate_can_end_a_call_in_every_state(state: State) -> None:
    assert Happening.STOPPED in TABLE[state]
    assert Happening.FENCED in TABLE[state]


def test_every_happening_is_used() -> None:
    assert {happening for row in TABLE.values() for happening in row} == set(Happening)


def test_the_drawing_shows_every_entry() -> None:
    drawn = drawing()
    assert drawn.startswith("stateDiagram-v2")
    for state, row in TABLE.items():
        for happening, (action, following) in row.items():
            assert f"{state.value} --> {following.value}: {happening.value} / {action}" in drawn
