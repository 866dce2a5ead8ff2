"""The ordinary course of calls, from INVITE to the last BYE, with the money behind it."""

from gateway.call.commands import Release, Settle
from gateway.call.record import decode_record
from tests.gateway.call.world import CALLER, NUMBER, OFFER, REPLY, World


def test_a_call_from_invite_to_bye() -> None:
    world = World()
    dialog, _ = world.talk()
    assert world.caller.story() == "100 180 200"
    assert world.called.story() == "INVITE ACK"
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]
    world.run(3.0)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    assert world.caller.story().endswith("200 200")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert (closed.talk_ms, closed.charge_micros) == (3000, 3_000_000)
    assert world.is_clean()
