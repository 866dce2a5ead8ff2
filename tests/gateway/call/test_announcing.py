"""Callers without money: connected with who says so where they are refused or cut, warned before, and never charged."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call.commands import Release, Settle
from gateway.call.record import decode_record
from gateway.call.settings import Announcing, CallSettings
from gateway.sip.dialog import Dialog
from gateway.sip.message import Request
from tests.gateway.call.world import OFFER, REPLY, SPARE, Options, World, allow

SAYS = f"sip:top-up@{SPARE[0]}:{SPARE[1]}"
ANNOUNCING = Announcing(refused=SAYS, at_zero=SAYS, longest_s=20, trunks=frozenset({"pbx"}))
HELLO = REPLY.replace(b"10.0.0.3", b"10.0.0.4")


def world_of(balance: int, announcing: Announcing = ANNOUNCING, trunk: str = "pbx") -> World:
    chosen = CallSettings(tick_s=10, session_expires_s=0, announcing=announcing)
    return World(Options(verdict=allow(trunk=trunk), settings=chosen, balance=balance))


def test_a_call_refused_for_want_of_credit_hears_why() -> None:
    world = world_of(0)
    world.caller.invite()
    invite = world.spare.request("INVITE")
    assert (invite.uri, invite.body) == (SAYS, OFFER)
    assert world.called.story() == ""
    world.spare.answer("INVITE", 200, tag="s1", body=HELLO)
    assert world.caller.response(200, "INVITE").body == HELLO
    dialog = world.caller.dialog()
    world.caller.ack(dialog)
    world.run(5)
    world.caller.send(dialog, "BYE")
    world.ok(world.spare, "BYE")
    (refused,) = [decode_record(command.record) for command in world.store.refused]
    assert (refused.reason, refused.sip_status) == ("NO_CREDIT", 402)
    (heard,) = [decode_record(command.record) for command in world.store.closed.values()]
    assert (heard.destination, heard.payer, heard.talk_ms, heard.charge_micros) == ("announcement", "none", 5000, 0)
    assert heard.call_id != refused.call_id
    assert world.is_clean()


def test_an_announcement_ends_by_itself() -> None:
    world = world_of(0)
    world.caller.invite()
    world.spare.answer("INVITE", 200, tag="s1", body=HELLO)
    world.caller.ack(world.caller.dialog())
    world.run(20)
    world.ok(world.caller, "BYE")
    world.ok(world.spare, "BYE")
    assert world.is_clean()


@pytest.mark.parametrize("status", [404, 486, 503, 0])
def test_where_nobody_says_so_it_is_the_402_that_it_was(status: int) -> None:
    world = world_of(0)
    world.caller.invite()
    if status:
        world.spare.answer("INVITE", status)
    else:
        world.run(5)
    assert 'callgate "NO_CREDIT' in (world.caller.response(402).get("Warning") or "")
    world.run(60)
    assert world.is_clean()


@pytest.mark.parametrize("trunk", ["carrier", "other"])
def test_a_caller_from_outside_hears_nothing_of_it(trunk: str) -> None:
    world = world_of(0, trunk=trunk)
    world.caller.invite()
    assert world.caller.response(402)
    assert world.spare.story() == ""


def test_only_want_of_credit_is_announced() -> None:
    world = world_of(1_000_000_000)
    world.store.deny = "LIMIT_CALLS"
    world.caller.invite()
    assert world.caller.response(403)
    assert world.spare.story() == ""


# at zero


def to_zero(announcing: Announcing = ANNOUNCING) -> tuple[World, Dialog]:
    """A call whose money has just ended after 12 s."""
    world = world_of(12_000_000, announcing)
    dialog, _ = world.talk()
    world.run(12)
    return world, dialog


def test_at_zero_the_caller_is_moved_and_nothing_more_is_charged() -> None:
    world, dialog = to_zero()
    assert "cause=402" in (world.called.request("BYE").get("Reason") or "")
    world.ok(world.called, "BYE")
    assert world.caller.got("BYE") == []
    (settled,) = world.store.closed.values()
    assert isinstance(settled, Settle)
    assert (settled.talk_ms, settled.charge_micros) == (12_000, 12_000_000)
    assert world.spare.request("INVITE").body == b""
    assert world.spare.request("INVITE").uri == SAYS
    world.spare.answer("INVITE", 200, tag="s1", body=HELLO)
    again = world.caller.request("INVITE")
    assert again.body == HELLO
    world.caller.answer("INVITE", 200, body=OFFER)
    ack = world.spare.request("ACK")
    assert (ack.body, ack.get("Content-Type")) == (OFFER, "application/sdp")
    assert isinstance(world.caller.last("ACK"), Request)
    assert [view.state for view in world.b2bua.calls(world.now)] == ["redirected"]
    world.run(5)
    world.caller.send(dialog, "BYE")
    world.ok(world.spare, "BYE")
    assert len(world.store.closed) == 1
    assert world.store.balances["contoso"] == 0
    assert world.is_clean()


def test_it_lasts_so_long_and_no_longer() -> None:
    world, _ = to_zero()
    world.ok(world.called, "BYE")
    world.spare.answer("INVITE", 200, tag="s1", body=HELLO)
    world.caller.answer("INVITE", 200, body=OFFER)
    world.run(20)
    assert "cause=402" in (world.caller.request("BYE").get("Reason") or "")
    world.ok(world.caller, "BYE")
    world.ok(world.spare, "BYE")
    assert world.is_clean()


@pytest.mark.parametrize("status", [404, 503, 0])
def test_where_nobody_answers_the_caller_is_hung_up(status: int) -> None:
    world, _ = to_zero()
    world.ok(world.called, "BYE")
    if status:
        world.spare.answer("INVITE", status)
    else:
        world.run(5)
    assert "cause=402" in (world.caller.request("BYE").get("Reason") or "")
    world.ok(world.caller, "BYE")
    world.run(60)
    assert world.is_clean()


@pytest.mark.parametrize("status", [488, 491, 481])
def test_a_caller_that_does_not_follow_is_hung_up(status: int) -> None:
    world, _ = to_zero()
    world.ok(world.called, "BYE")
    world.spare.answer("INVITE", 200, tag="s1", body=HELLO)
    world.caller.answer("INVITE", status)
    world.ok(world.caller, "BYE")
    assert world.spare.got("ACK")
    world.ok(world.spare, "BYE")
    assert world.is_clean()


def test_the_caller_hangs_up_before_anybody_answers() -> None:
    world, dialog = to_zero()
    world.ok(world.called, "BYE")
    world.spare.answer("INVITE", 180, tag="s1")
    world.caller.send(dialog, "BYE")
    assert world.spare.got("CANCEL")
    world.spare.answer("INVITE", 487)
    assert world.is_clean()


def test_who_says_so_may_hang_up() -> None:
    world, _ = to_zero()
    world.ok(world.called, "BYE")
    transaction = world.spare.answer("INVITE", 200, tag="s1", body=HELLO)
    world.caller.answer("INVITE", 200, body=OFFER)
    world.spare.send(world.spare.served(transaction), "BYE")
    world.ok(world.caller, "BYE")
    assert world.is_clean()


def test_a_caller_with_an_offer_open_is_cut_as_ever() -> None:
    world = world_of(12_000_000)
    dialog, _ = world.talk()
    world.run(11)
    world.caller.send(dialog, "INVITE", body=OFFER)
    world.run(1)
    assert world.caller.got("BYE")
    assert world.spare.story() == ""


def test_a_call_cut_for_another_reason_is_cut_as_ever() -> None:
    world = world_of(1_000_000_000)
    world.talk()
    world.b2bua.hang_up(next(iter(world.b2bua.calls(world.now))).id, world.now)
    world.settle()
    assert world.caller.got("BYE")
    assert world.spare.story() == ""


ACTIONS = st.sampled_from(["says", "says no", "agrees", "refuses", "hangs up", "ends", "wait", "operator"])


@settings(max_examples=80, deadline=None)
@given(st.lists(ACTIONS, max_size=8))
def test_in_whatever_order_it_is_settled_once_and_ends(order: list[str]) -> None:
    world, dialog = to_zero()
    served: list[Dialog] = []
    for action in order:
        _act(world, dialog, served, action)
    for _ in range(4):
        world.run(100)
        _others(world)
    assert [type(command) for command in world.store.commands if isinstance(command, Settle | Release)] == [Settle]
    assert world.is_clean()


def _act(world: World, dialog: Dialog, served: list[Dialog], action: str) -> None:
    asked = any(each.method == "INVITE" for each in world.spare.waiting)
    again = any(each.method == "INVITE" for each in world.caller.waiting)
    if action == "wait":
        world.run(3)
    elif asked and action in ("says", "says no"):
        said = world.spare.answer("INVITE", 200 if action == "says" else 480, tag="s1", body=HELLO)
        served += [world.spare.served(said)] if action == "says" else []
    elif again and action in ("agrees", "refuses"):
        world.caller.answer("INVITE", 200 if action == "agrees" else 488, body=OFFER)
    elif action == "hangs up":
        world.caller.send(dialog, "BYE")
    elif action == "ends" and served:
        world.spare.send(served[0], "BYE")
    elif action == "operator":
        for view in list(world.b2bua.calls(world.now)):
            world.b2bua.hang_up(view.id, world.now)
        world.settle()
    _others(world)


def _others(world: World) -> None:
    for phone in (world.caller, world.called, world.spare):
        for waiting in [each for each in phone.waiting if each.method != "INVITE"]:
            phone.waiting.remove(waiting)
            phone.say(waiting, 200)
    world.settle()


# before


def test_the_caller_is_warned_once_and_anew_after_more_money() -> None:
    world = world_of(25_000_000, replace(ANNOUNCING, at_zero="", warns=True, warning_s=4))
    world.talk()
    world.run(20)
    assert world.caller.got("INFO") == []
    world.run(1.5)
    info = world.caller.request("INFO")
    assert (info.body, info.get("Content-Type")) == (b'{"event":"call.low_credit","seconds":4}', "application/json")
    world.caller.answer("INFO", 415)
    world.store.balances["contoso"] += 10_000_000
    world.b2bua.funded("contoso", world.now)
    world.run(11.6)
    assert len(world.caller.got("INFO")) == 2
    world.ok(world.caller, "INFO")
    world.run(10)
    assert world.caller.got("BYE")
    assert len(world.caller.got("INFO")) == 2
    assert world.called.got("INFO") == []


def test_nobody_is_warned_unless_it_is_set() -> None:
    world, _ = to_zero(replace(ANNOUNCING, at_zero=""))
    assert world.caller.got("INFO") == []
    assert world.caller.got("BYE")
