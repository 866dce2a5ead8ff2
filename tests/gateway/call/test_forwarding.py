"""Calls that a PBX forwards: two calls, each authorised, each paid by whom it concerns, and ended together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call.commands import Release, Settle
from gateway.call.record import CallRecord, decode_record
from gateway.call.settings import CallSettings
from gateway.sip.events import LOOP, Flow
from gateway.sip.message import Request
from policy.verdict import Allow, Route
from tests.gateway.call.world import CARRIER, NUMBER, REPLY, SPARE, Options, World, allow

NEW = "+442079460000"
FOLLOWS = CallSettings(tick_s=10, session_expires_s=0, follow_redirects=True, forwarders=frozenset({"pbx"}))
IN = allow(kind="conf_in", trunk="incoming", routes=(Route("pbx", f"sip:{CARRIER[0]}:{CARRIER[1]}", NUMBER),))
OUT = allow(
    kind="user_out_forwarding", trunk="pbx", number=NEW, routes=(Route("out", f"sip:{SPARE[0]}:{SPARE[1]}", NEW),)
)


class Forwarding(World):
    """A call from outside to the PBX (``called``), which may forward it to ``spare``."""

    def __init__(self, balance: int = 1_000_000_000, way: Allow = OUT) -> None:
        super().__init__(Options(verdict=IN, settings=FOLLOWS, balance=balance))
        self.way = way
        self.asked: list[tuple[Request, Flow]] = []
        self.decide = self._decide

    def _decide(self, request: Request, flow: Flow) -> Allow:
        self.asked.append((request, flow))
        return self.way if flow.transport == LOOP else IN

    def forward(self, *numbers: str) -> None:
        """A call arrives, and the PBX forwards it."""
        self.caller.invite()
        contacts = tuple(("Contact", f"<sip:{number}@10.0.0.3>") for number in numbers or (NEW,))
        self.called.answer("INVITE", 302, headers=contacts)

    def records(self) -> list[CallRecord]:
        return [decode_record(command.record) for command in self.store.closed.values()]


def test_who_forwards_pays_for_the_way_there_as_for_a_call_of_its_own() -> None:
    world = Forwarding()
    world.forward()
    asked, flow = world.asked[1]
    assert flow == Flow(LOOP, "pbx", 0)
    assert asked.get("Diversion") == f"<sip:{NUMBER}@10.0.0.1>;reason=unknown"
    assert world.caller.got(302) == []
    assert world.spare.request("INVITE").uri == f"sip:{NEW}@{SPARE[0]}:{SPARE[1]}"
    assert world.spare.request("INVITE").max_forwards == 68, "each leg is a hop, and so loops end"
    world.spare.answer("INVITE", 180, tag="s1")
    assert world.caller.got(180)
    transaction = world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    assert world.caller.response(200, "INVITE").body == REPLY
    dialog = world.caller.dialog()
    world.caller.ack(dialog)
    assert world.spare.got("ACK")
    world.run(15)
    world.caller.send(dialog, "BYE")
    assert world.spare.request("BYE").call_id == transaction.request.call_id
    world.ok(world.spare, "BYE")
    assert [
        (each.kind, each.talk_ms, each.charge_micros) for each in sorted(world.records(), key=lambda r: r.kind)
    ] == [
        ("conf_in", 15_000, 15_000_000),
        ("user_out_forwarding", 15_000, 15_000_000),
    ]
    assert len({each.call_id for each in world.records()}) == 2
    assert world.store.held == {}
    assert world.is_clean()


def test_what_the_called_side_asks_goes_through_both_calls() -> None:
    world = Forwarding()
    world.forward()
    transaction = world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    dialog = world.spare.served(transaction)
    world.spare.send(dialog, "INVITE", body=REPLY)
    world.caller.answer("INVITE", 200, body=REPLY)
    assert world.spare.response(200, "INVITE")
    world.spare.ack(dialog, seq=dialog.local_seq)
    world.spare.send(dialog, "INFO", body=b"5")
    assert world.caller.request("INFO").body == b"5"
    world.ok(world.caller, "INFO")
    world.spare.send(dialog, "BYE", headers=(("Reason", "Q.850;cause=16"),))
    assert world.caller.request("BYE").get("Reason") == "Q.850;cause=16"
    world.ok(world.caller, "BYE")
    assert world.is_clean()


def test_both_calls_are_cut_together_and_settled_once_each() -> None:
    world = Forwarding(balance=24_000_000)  # 12 s for both
    world.forward()
    world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    world.run(30)
    assert "cause=402" in (world.caller.request("BYE").get("Reason") or "")
    assert "cause=402" in (world.spare.request("BYE").get("Reason") or "")
    world.ok(world.caller, "BYE")
    world.ok(world.spare, "BYE")
    assert len(world.records()) == 2
    assert 0 <= world.store.balances["contoso"] < 24_000_000
    assert world.store.held == {}
    assert world.is_clean()


def test_no_credit_for_the_way_refuses_the_caller_and_charges_nobody() -> None:
    world = Forwarding(balance=10_000_000)  # the first tick of the call that came in
    world.forward()
    assert 'callgate "NO_CREDIT' in (world.caller.response(402).get("Warning") or "")
    assert world.spare.story() == ""
    assert world.store.balances["contoso"] == 10_000_000
    assert (len(world.store.closed), len(world.store.refused)) == (1, 1)
    assert world.is_clean()


def test_further_contacts_are_tried_as_further_targets_are() -> None:
    world = Forwarding()
    world.forward(NEW, "+442079460001")
    world.spare.answer("INVITE", 503)
    assert len(world.spare.got("INVITE")) == 1, "a refusal inside is a 500, which is the far end's last word"
    assert world.caller.response(500)
    assert world.is_clean()


def test_the_caller_gives_up() -> None:
    world = Forwarding()
    sent = world.caller.invite(run=False)
    world.settle()
    world.called.answer("INVITE", 302, headers=(("Contact", f"<sip:{NEW}@10.0.0.3>"),))
    world.spare.answer("INVITE", 180, tag="s1")
    world.caller.cancel(sent)
    assert world.spare.got("CANCEL")
    world.spare.answer("INVITE", 487)
    assert world.caller.response(487)
    assert all(isinstance(command, Release) for command in world.store.closed.values())
    assert world.is_clean()


def test_a_pbx_that_forwards_to_itself_for_ever_is_stopped() -> None:
    world = Forwarding(way=allow(trunk="pbx", tariff=None, payer="none", routes=IN.routes))
    world.caller.invite()
    for number in range(100):
        if not world.called.waiting:
            break
        world.called.answer("INVITE", 302, headers=(("Contact", f"<sip:+1425555{number:04}@10.0.0.3>"),))
    assert len(world.called.got("INVITE")) == 6
    assert world.caller.response(302)
    assert world.is_clean()


def test_a_gate_that_is_restarted_goes_on_with_both_calls() -> None:
    world = Forwarding()
    world.forward()
    world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    dialog = world.caller.dialog()
    world.caller.ack(dialog)
    world.die()
    assert world.restart() == [True, True]
    for phone in (world.caller, world.spare):
        while any(waiting.method == "OPTIONS" for waiting in phone.waiting):
            phone.answer("OPTIONS", 200)
    world.run(5)
    world.caller.send(dialog, "BYE")
    world.ok(world.spare, "BYE")
    assert len(world.store.closed) == 2
    assert world.is_clean()


ACTIONS = st.sampled_from(["ring", "answer", "ack", "hang up", "spare hangs up", "cancel", "wait", "busy", "funded"])


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=10), st.integers(0, 60))
def test_in_whatever_order_each_call_is_closed_once_and_nothing_stays_held(order: list[str], units: int) -> None:
    world = Forwarding(balance=units * 1_000_000)
    sent = world.caller.invite()
    if world.called.waiting:
        world.called.answer("INVITE", 302, headers=(("Contact", f"<sip:{NEW}@10.0.0.3>"),))
    for action in order:
        _act(world, sent, action)
    for _ in range(4):
        world.run(200)
        _finish(world)
    assert world.store.held == {}
    charged = sum(each.charge_micros for each in world.records())
    assert world.store.balances["contoso"] == units * 1_000_000 - charged >= 0
    assert sum(isinstance(command, Settle | Release) for command in world.store.commands) == len(world.store.closed)


def _act(world: Forwarding, sent: object, action: str) -> None:
    waits = any(each.method == "INVITE" for each in world.spare.waiting)
    if action == "wait":
        world.run(3)
    elif action == "funded":
        world.store.balances["contoso"] += 0
        world.b2bua.funded("contoso", world.now)
        world.settle()
    elif action == "cancel":
        world.caller.cancel(sent)  # type: ignore[arg-type]
    elif waits and action in ("ring", "answer", "busy"):
        world.spare.answer("INVITE", {"ring": 180, "answer": 200, "busy": 486}[action], tag="s1")
    elif world.caller.got(200, "INVITE") and action == "ack":
        world.caller.ack(world.caller.dialog())
    elif world.caller.got(200, "INVITE") and action == "hang up":
        world.caller.send(world.caller.dialog(), "BYE")
    _finish(world)


def _finish(world: Forwarding) -> None:
    for phone in (world.caller, world.spare):
        for waiting in [each for each in phone.waiting if each.method != "INVITE"]:
            phone.waiting.remove(waiting)
            phone.say(waiting, 200)
    world.settle()


@pytest.mark.parametrize("trunk", ["carrier", "other"])
def test_a_carriers_3xx_to_another_number_is_relayed(trunk: str) -> None:
    verdict = allow(routes=(Route(trunk, f"sip:{CARRIER[0]}:{CARRIER[1]}", NUMBER),))
    world = World(Options(verdict=verdict, settings=FOLLOWS))
    world.caller.invite()
    world.called.answer("INVITE", 302, headers=(("Contact", f"<sip:{NEW}@10.0.0.4>"),))
    assert world.caller.response(302)
    assert world.spare.story() == ""
