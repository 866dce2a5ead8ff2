"""What peers ask beside plain calls: methods that are not carried, extensions, causes, and when to try again."""

import pytest

from gateway.call.record import decode_record
from tests.gateway.call.world import REPLY, World


@pytest.mark.parametrize(
    ("method", "status"),
    [("REFER", 603), ("MESSAGE", 405), ("SUBSCRIBE", 489), ("PUBLISH", 489), ("NOTIFY", 481), ("BEAM", 501)],
)
@pytest.mark.parametrize("by_caller", [True, False])
def test_methods_that_are_not_carried_and_leave_the_call_alone(method: str, status: int, by_caller: bool) -> None:
    world = World()
    from_caller, from_called = world.talk()
    phone, other = (world.caller, world.called) if by_caller else (world.called, world.caller)
    phone.send(from_caller if by_caller else from_called, method, headers=(("Event", "refer"),))
    answer = phone.response(status, method)
    assert "INVITE" in (answer.get("Allow") or "")
    assert not other.got(method)
    world.caller.send(from_caller, "BYE")
    world.ok(world.called, "BYE")
    assert world.is_clean()


def test_what_the_two_ends_agree_on_crosses_and_the_far_end_may_refuse_it() -> None:
    world = World()
    world.caller.invite(headers=(("Require", "precondition"),))
    assert world.called.request("INVITE").get("Require") == "precondition"
    world.called.answer("INVITE", 420, headers=(("Unsupported", "precondition"),))
    assert world.caller.response(420).get("Unsupported") == "precondition"


@pytest.mark.parametrize(
    ("status", "told", "wanted"),
    [
        (486, "120", "120"),
        (480, "3600;duration=60", "3600"),
        (603, "10 (at 10.0.0.3)", "10"),
        (486, "soon", None),
        (500, "10", None),
        (503, "10", None),
    ],
)
def test_the_called_party_may_say_when_to_try_again_and_its_host_may_not(
    status: int, told: str, wanted: str | None
) -> None:
    """SIP.md 4: a PBX would take the gate out of use where a carrier is overloaded."""
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", status, headers=(("Retry-After", told),))
    assert world.caller.response(500 if status == 503 else status).get("Retry-After") == wanted


@pytest.mark.parametrize(
    ("reason", "status"),
    [(None, 480), ("Q.850;cause=17", 486), ("Q.850;cause=16", 480), ("Q.850;cause=34", 500), ("SIP;cause=486", 480)],
)
def test_a_called_side_that_answers_and_is_gone_before_the_caller_heard_it_tells_why(
    reason: str | None, status: int
) -> None:
    world = World()
    world.ring()
    world.store.slow = True
    transaction = world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    headers = (("Reason", reason),) if reason else ()
    world.called.send(world.called.served(transaction), "BYE", headers=headers)
    assert world.caller.response(status, "INVITE")
    assert not world.caller.got(200, "INVITE")
    (closed,) = world.store.closed.values()
    record = decode_record(closed.record)
    assert (record.sip_status, record.ended_by, record.charge_micros) == (status, "callee", 0)
