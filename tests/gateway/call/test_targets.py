"""Failover between targets, forks of the called side, redirects: what the caller sees, and which 2xx wins."""

import pytest

from gateway.call.clock import Bell
from gateway.call.commands import Prove, Release, Settle
from gateway.call.record import decode_record
from gateway.call.settings import CallSettings
from gateway.call.targets import contact_beside, hop_of
from gateway.sip.dialog import Dialog
from gateway.sip.events import Flow
from policy.verdict import Route
from tests.gateway.call.world import (
    CARRIER,
    NUMBER,
    REPLY,
    SPARE,
    Options,
    World,
    allow,
    answer_to,
    both_targets,
)


def two_targets(**settings: object) -> World:
    chosen = CallSettings(tick_s=10, session_expires_s=0, **settings)  # type: ignore[arg-type]
    return World(Options(verdict=allow(routes=both_targets()), settings=chosen))


@pytest.mark.parametrize("status", [503, 408])
def test_the_next_target_is_tried_after(status: int) -> None:
    world = two_targets()
    world.caller.invite()
    world.called.answer("INVITE", status)
    assert world.spare.request("INVITE").uri == f"sip:{NUMBER}@10.0.0.4:5060"
    assert world.caller.story() == "100"
    world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    assert world.spare.story() == "INVITE ACK"
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


@pytest.mark.parametrize("status", [404, 480, 486, 500, 603])
def test_no_other_target_is_tried_after(status: int) -> None:
    world = two_targets()
    world.caller.invite()
    world.called.answer("INVITE", status)
    assert world.spare.story() == ""
    assert world.caller.response(status)
    assert world.is_clean()


def test_a_target_that_is_silent_gives_way_after_its_timeout() -> None:
    world = two_targets()
    world.lose = lambda source, target, data: target == CARRIER
    world.caller.invite()
    world.run(3.9)
    assert world.spare.story() == ""
    world.run(0.2)
    assert world.spare.got("INVITE")[0].at_s == 1004.0
    world.spare.answer("INVITE", 486)
    assert world.caller.response(486)
    assert world.is_clean()


def test_no_further_target_is_tried_when_failover_has_taken_its_time() -> None:
    routes = tuple(Route("carrier", f"sip:10.0.0.{host}:5060", NUMBER) for host in (31, 32, 33, 34, 4))
    chosen = CallSettings(tick_s=10, session_expires_s=0, failover_s=10.0)
    world = World(Options(verdict=allow(routes=routes), settings=chosen))
    world.caller.invite()
    world.run(11.9)
    assert len(world.b2bua) == 1
    world.run(0.2)
    assert world.caller.response(408)
    assert not world.spare.seen
    assert world.is_clean()


def test_ringing_takes_nothing_of_the_time_for_failover() -> None:
    world = two_targets(failover_s=20.0)
    world.caller.invite()
    world.called.answer("INVITE", 180, tag="b1")
    world.run(21.0)
    world.called.answer("INVITE", 503, tag="b1")
    assert world.spare.got("INVITE")
    world.spare.answer("INVITE", 486)
    assert world.caller.response(486)
    assert world.is_clean()


def test_a_redirect_after_long_ringing_is_followed() -> None:
    world = World(Options(settings=CallSettings(tick_s=10, session_expires_s=0, follow_redirects=True)))
    world.caller.invite()
    world.called.answer("INVITE", 180, tag="b1")
    world.run(21.0)
    contact = (("Contact", f"<sip:{NUMBER}@10.0.0.4:5060>"),)
    world.called.answer("INVITE", 302, tag="b1", headers=contact)
    assert world.spare.got("INVITE")


def test_a_route_whose_hop_is_known_keeps_its_name_in_the_request_uri() -> None:
    route = Route("carrier", "sip:carrier.example.org", NUMBER, "sip:10.0.0.3:5060;transport=tcp")
    world = World(Options(verdict=allow(routes=(route,))))
    world.caller.invite()
    request = world.called.request("INVITE")
    assert request.uri == f"sip:{NUMBER}@carrier.example.org"
    assert request.top_via.transport == "TCP"


@pytest.mark.parametrize("proxy", ["sip:proxy.example.org", "sip:proxy.example.org;lr"])
def test_a_call_through_a_proxy_has_its_route_and_so_has_the_cancel(proxy: str) -> None:
    route = Route("carrier", "sip:carrier.example.org", NUMBER, "sip:10.0.0.3:5060", proxy)
    world = World(Options(verdict=allow(routes=(route,))))
    sent = world.caller.invite()
    request = world.called.request("INVITE")
    assert request.uri == f"sip:{NUMBER}@carrier.example.org"
    assert request.get("Route") == "<sip:proxy.example.org;lr>"
    world.called.answer("INVITE", 180, tag="x")
    world.caller.cancel(sent)
    assert world.called.request("CANCEL").get("Route") == "<sip:proxy.example.org;lr>"


def test_a_target_that_only_says_100_is_waited_for() -> None:
    world = two_targets()
    world.caller.invite()
    world.called.answer("INVITE", 100)
    world.run(20.0)
    assert world.spare.story() == ""
    assert len(world.b2bua) == 1


def test_all_targets_silent_is_408() -> None:
    world = two_targets()
    world.lose = lambda source, target, data: target in (CARRIER, SPARE)
    world.caller.invite()
    world.run(8.5)
    refusal = world.caller.response(408)
    assert "DEAD_PEER" in (refusal.get("Warning") or "")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Release)
    assert decode_record(closed.record).sip_status == 408
    assert world.is_clean()


def test_a_target_that_cannot_be_reached_gives_way_at_once() -> None:
    world = two_targets()
    world.caller.invite()
    world.endpoint.send_failed(Flow("udp", *CARRIER), world.now)
    world.settle()
    assert world.spare.got("INVITE")


def test_no_target_that_can_be_reached_is_500() -> None:
    world = World()
    world.caller.invite()
    world.endpoint.send_failed(Flow("udp", *CARRIER), world.now)
    world.settle()
    refusal = world.caller.response(500)
    assert (refusal.get("Retry-After"), refusal.get("Reason")) == (None, "Q.850;cause=41")
    assert world.is_clean()


def test_a_far_side_503_is_500_without_its_retry_after() -> None:
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", 503, headers=(("Retry-After", "120"),))
    refusal = world.caller.response(500)
    assert refusal.get("Retry-After") is None
    assert refusal.get("Reason") == "Q.850;cause=41"
    assert (refusal.get("Warning") or "").startswith('399 callgate "FAR_END:')
    assert world.caller.got(503) == []


@pytest.mark.parametrize("status", [401, 407])
def test_a_challenge_for_the_gate_is_not_relayed(status: int) -> None:
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", status, headers=(("Proxy-Authenticate", 'Digest realm="x", nonce="y"'),))
    assert world.caller.response(500).get("Proxy-Authenticate") is None


def test_a_far_side_refusal_keeps_its_reason_and_text() -> None:
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", 486, headers=(("Reason", 'Q.850;cause=17;text="busy"'), ("Warning", "399 x y")))
    refusal = world.caller.response(486)
    assert refusal.all("Reason") == ['Q.850;cause=17;text="busy"']
    assert refusal.all("Warning")[0] == "399 x y"
    (closed,) = world.store.closed.values()
    record = decode_record(closed.record)  # type: ignore[union-attr]
    assert (record.reason, record.sip_status, record.ended_by, record.carrier) == ("FAR_END", 486, "callee", "carrier")


def test_a_far_side_refusal_without_reason_gets_the_cause_of_its_status() -> None:
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", 486)
    assert world.caller.response(486).get("Reason") == "Q.850;cause=17"


def test_a_late_answer_of_an_abandoned_target_is_ended_free_of_charge() -> None:
    world = two_targets()
    world.lose = lambda source, target, data: source == CARRIER
    world.caller.invite()
    world.run(4.1)
    world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    world.lose = lambda source, target, data: False
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    assert world.called.story() == "INVITE ACK BYE"
    world.ok(world.called, "BYE")
    world.caller.ack(world.caller.dialog())
    world.caller.send(world.caller.dialog(), "BYE")
    world.ok(world.spare, "BYE")
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_a_target_given_up_is_cancelled_once_it_rings() -> None:
    world = two_targets()
    world.lose = lambda source, target, data: source == CARRIER
    world.caller.invite()
    world.run(4.1)
    world.lose = lambda source, target, data: False
    world.called.answer("INVITE", 180, tag="b1")
    assert world.called.got("CANCEL")
    assert world.caller.got(180) == []


def test_each_fork_of_the_called_side_has_a_to_tag_of_its_own() -> None:
    world = World()
    world.caller.invite()
    for tag in ("b1", "b2", "b1"):
        world.called.answer("INVITE", 180, tag=tag)
    tags = [seen.message.to.tag for seen in world.caller.got(180)]
    assert len(set(tags)) == 2
    assert tags[0] == tags[2] != tags[1]


def test_the_next_target_rings_under_a_to_tag_of_its_own() -> None:
    world = two_targets()
    world.caller.invite()
    world.called.answer("INVITE", 180, tag="b1")
    world.called.answer("INVITE", 503, tag="b1")
    world.spare.answer("INVITE", 180, tag="b1")
    first, second = [seen.message.to.tag for seen in world.caller.got(180)]
    assert first != second


def test_a_ringing_without_a_tag_is_named_by_the_first_tag_that_comes() -> None:
    """RFC 2543 peers ring without a To tag."""
    world = World()
    world.caller.invite()
    transaction = world.called.pending("INVITE")
    request = transaction.request
    world.inject(CARRIER, answer_to(request, "180 Ringing", ""))
    world.called.answer("INVITE", 200, tag="b9", body=REPLY)
    ringing, answered = world.caller.response(180), world.caller.response(200, "INVITE")
    assert ringing.to.tag == answered.to.tag != ""


def test_the_first_2xx_wins_and_the_other_fork_is_ended() -> None:
    world = World()
    world.caller.invite()
    transaction = world.called.pending("INVITE")
    for tag in ("b1", "b2"):
        world.called.answer("INVITE", 180, tag=tag)
    world.called.answer("INVITE", 200, tag="b2", body=REPLY)
    winner = world.caller.response(200, "INVITE").to.tag
    assert winner == world.caller.got(180)[1].message.to.tag
    world.inject(CARRIER, answer_to(transaction.request, "200 OK", "b1"))
    bye = world.called.request("BYE")
    assert bye.to.tag == "b1"
    assert [seen.message.to.tag for seen in world.called.got("ACK")] == ["b1"]
    world.caller.ack(world.caller.dialog(winner))
    assert [seen.message.to.tag for seen in world.called.got("ACK")] == ["b1", "b2"]
    assert len(world.caller.got(200, "INVITE")) == 1


def test_a_losing_forks_dialog_is_481_for_the_caller() -> None:
    world = World()
    world.caller.invite()
    for tag in ("b1", "b2"):
        world.called.answer("INVITE", 180, tag=tag)
    early = world.caller.dialog(world.caller.got(180)[0].message.to.tag)
    world.called.answer("INVITE", 200, tag="b2", body=REPLY)
    world.caller.send(early, "INFO")
    assert world.caller.response(481, "INFO")


def test_early_dialogs_are_bounded() -> None:
    world = World()
    world.caller.invite()
    for number in range(40):
        world.called.answer("INVITE", 180, tag=f"b{number}")
    assert len({seen.message.to.tag for seen in world.caller.got(180)}) == 16
    world.called.answer("INVITE", 200, tag="b39", body=REPLY)
    world.caller.ack(world.caller.dialog())
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_a_redirect_is_relayed_with_its_contacts() -> None:
    world = World()
    world.caller.invite()
    contacts = (("Contact", "<sip:+14255550111@10.0.0.4>;q=0.5"), ("Contact", "<sip:other@example.com>"))
    world.called.answer("INVITE", 302, headers=contacts)
    # another number is to be called through the gate, which is what the caller can reach
    assert world.caller.response(302).all("Contact") == ["<sip:+14255550111@10.0.0.1:5060>;q=0.5", contacts[1][1]]
    assert world.is_clean()


def test_a_redirect_is_followed_where_the_settings_say_so() -> None:
    world = World(Options(settings=CallSettings(follow_redirects=True, session_expires_s=0)))
    world.caller.invite()
    contacts = (("Contact", "<sip:other@10.0.0.2>"), ("Contact", f"<sip:{NUMBER}@10.0.0.4>;q=0.5"))
    world.called.answer("INVITE", 302, headers=contacts)
    assert world.caller.got(302) == []
    assert world.spare.request("INVITE").uri == f"sip:{NUMBER}@10.0.0.4"
    world.spare.answer("INVITE", 200, tag="s1", body=REPLY)
    assert world.caller.response(200, "INVITE")


def test_a_redirect_is_followed_through_the_proxy_of_its_trunk() -> None:
    route = Route("carrier", "sip:carrier.example.org", NUMBER, "sip:10.0.0.3:5060", "sip:proxy.example.org")
    settings = CallSettings(follow_redirects=True, session_expires_s=0)
    world = World(Options(verdict=allow(routes=(route,)), settings=settings))
    world.caller.invite()
    world.called.answer("INVITE", 302, headers=(("Contact", f"<sip:{NUMBER}@10.0.0.4:5060>"),))
    assert world.spare.seen == []
    request = world.called.got("INVITE")[-1].message
    assert request.uri == f"sip:{NUMBER}@10.0.0.4:5060"
    assert request.get("Route") == "<sip:proxy.example.org;lr>"


def test_a_redirect_to_another_number_would_be_another_price_and_is_relayed() -> None:
    world = World(Options(settings=CallSettings(follow_redirects=True, session_expires_s=0)))
    world.caller.invite()
    world.called.answer("INVITE", 302, headers=(("Contact", "<sip:+18829990000@10.0.0.4>"),))
    assert world.caller.response(302)
    assert world.spare.story() == ""


def test_a_redirect_to_a_transport_the_gate_does_not_speak_is_passed_over() -> None:
    world = World(Options(settings=CallSettings(follow_redirects=True, session_expires_s=0)))
    world.caller.invite()
    contacts = (f"<sip:{NUMBER}@10.0.0.4;transport=ws>", f"<sip:{NUMBER}@10.0.0.4>;q=0.1")
    world.called.answer("INVITE", 302, headers=tuple(("Contact", contact) for contact in contacts))
    assert world.spare.request("INVITE").uri == f"sip:{NUMBER}@10.0.0.4"
    world.spare.answer("INVITE", 404)
    assert world.caller.response(404)
    assert world.is_clean()


def test_redirects_that_go_round_in_a_circle_end() -> None:
    world = World(Options(settings=CallSettings(follow_redirects=True, session_expires_s=0)))
    world.caller.invite()
    for port in range(6001, 6020):
        phone = world.called if world.called.waiting else world.spare
        if not phone.waiting:
            break
        phone.answer("INVITE", 302, headers=(("Contact", f"<sip:{NUMBER}@10.0.0.4:5060;n={port}>"),))
    assert len(world.spare.got("INVITE")) == 5
    assert world.caller.response(480)  # all that it names leads back here
    assert world.is_clean()


def test_nobody_answers_in_time() -> None:
    world = World(Options(settings=CallSettings(ring_timeout_s=60.0, session_expires_s=0)))
    world.ring()
    world.run(59.0)
    assert len(world.b2bua) == 1
    world.run(1.5)
    assert "NO_ANSWER" in (world.caller.response(480).get("Warning") or "")
    assert world.called.request("CANCEL").get("Reason") == (
        'SIP;cause=480;text="nobody answered in time", Q.850;cause=19'
    )
    assert world.is_clean()


def test_a_cancelled_target_that_never_says_487_is_forgotten() -> None:
    world = World()
    sent = world.ring()
    world.caller.cancel(sent)
    world.run(100.0)
    assert world.is_clean()
    assert world.endpoint.load == 0


def test_the_store_learns_which_target_would_have_to_be_cancelled() -> None:
    world = two_targets()
    world.caller.invite()
    world.called.answer("INVITE", 503)
    (prove,) = [command for command in world.store.commands if isinstance(command, Prove)]
    assert prove.adoption is not None
    assert b"10.0.0.4" in prove.adoption


def test_a_route_that_cannot_be_dialled_gives_way() -> None:
    for target in ("tel:+1", "sip:10.0.0.4;transport=ws"):
        world = World(Options(verdict=allow(routes=(Route("carrier", target, NUMBER), *both_targets()))))
        world.caller.invite()
        assert world.called.got("INVITE")
        assert not world.spare.seen


def test_no_route_at_all_is_500() -> None:
    world = World(Options(verdict=allow(routes=())))
    world.caller.invite()
    assert "INTERNAL" in (world.caller.response(500).get("Warning") or "")
    assert world.is_clean()


def test_peers_that_name_no_address_are_reached_where_their_last_word_came_from() -> None:
    """A host name in Contact or Record-Route would have to be resolved; nonsense and strange transports cannot be."""
    strange = [f"<sip:10.0.0.2;transport={word}>" for word in ("ws", "sctp", "x")]
    for contact in ("<sip:pbx.example.com>", "<tel:+1425>", "<sip:10.0.0.2:99999>", *strange, "?<"):
        dialog = Dialog("c", "<sip:a>;tag=1", "1", "<sip:b>;tag=2", "2", contact.strip("<>"))
        assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("udp", *CARRIER)
        dialog.route_set = (contact,)
        assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("udp", *CARRIER)


def test_hops_inside_a_dialog() -> None:
    dialog = Dialog("c", "<sip:a>;tag=1", "1", "<sip:b>;tag=2", "2", "sip:10.9.9.9:5070;transport=tcp")
    assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("tcp", "10.9.9.9", 5070)
    dialog.remote_target = "sip:x@[2001:db8::1]"
    assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("udp", "2001:db8::1", 5060)
    for secure in ("sips:10.0.0.2", "sip:10.0.0.2;transport=tls"):
        dialog.remote_target = secure
        assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("tls", "10.0.0.2", 5061)
    dialog.remote_target = "sip:x@example.com;maddr=10.8.8.8"
    assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("udp", "10.8.8.8", 5060)
    dialog.route_set = ("<sip:10.7.7.7;lr>", "<sip:10.6.6.6;lr>")
    assert hop_of(dialog, Flow("udp", *CARRIER)) == Flow("udp", "10.7.7.7", 5060)


def test_a_hop_inside_a_dialog_is_reached_over_the_connection_that_the_dialog_came_by() -> None:
    dialog = Dialog("c", "<sip:a>;tag=1", "1", "<sip:b>;tag=2", "2", "sip:10.0.0.2:5060;transport=tcp")
    came_by = Flow("tcp", "10.0.0.2", 41234, 7)
    assert hop_of(dialog, came_by) == Flow("tcp", "10.0.0.2", 5060, 7)
    assert hop_of(dialog, came_by._replace(host="10.0.0.9")) == Flow("tcp", "10.0.0.2", 5060)
    assert hop_of(dialog, came_by._replace(transport="tls")) == Flow("tcp", "10.0.0.2", 5060)
    dialog.remote_target = "sip:10.0.0.2"
    assert hop_of(dialog, Flow("udp", "10.0.0.2", 5060, 1)) == Flow("udp", "10.0.0.2", 5060)


def test_a_sips_uri_wants_a_sips_contact() -> None:
    assert contact_beside("sip:x@h", "<sip:g:5061;transport=tls>") == "<sip:g:5061;transport=tls>"
    assert contact_beside("SIPS:x@h", "<sip:[::1]:5061;transport=tls>") == "<sips:[::1]:5061>"
    assert contact_beside("sips:x@h", "") == ""


def test_a_sips_target_is_called_by_tls_and_told_a_sips_contact() -> None:
    world = World(Options(verdict=allow(routes=(Route("carrier", "sips:10.0.0.3:5060", NUMBER),))))
    world.caller.invite()
    request = world.called.request("INVITE")
    assert request.uri == f"sips:{NUMBER}@10.0.0.3:5060"
    assert request.top_via.transport == "TLS"
    assert request.get("Contact") == "<sips:10.0.0.1:5060>"


def test_a_late_far_end_that_mints_tags_is_swept_up_to_a_limit() -> None:
    world = World()
    sent = world.ring()
    transaction = world.called.pending("INVITE")
    world.caller.cancel(sent)
    for number in range(100):
        world.inject(CARRIER, answer_to(transaction.request, "200 OK", f"x{number}"))
    assert len(world.called.got("BYE")) == 32 - 1, "one place is the ringing fork's"


def test_a_call_that_ends_is_forgotten_whatever_its_legs_wait_for() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "BYE")
    (call,) = world.b2bua._calls.values()
    call.ring(Bell.ENDING, world.now)
    assert world.is_clean()


def test_a_target_by_tcp_is_called_by_tcp() -> None:
    route = Route("carrier", "sip:10.0.0.3:5060;transport=tcp", NUMBER)
    world = World(Options(verdict=allow(routes=(route,))))
    world.caller.invite()
    sent = world.called.request("INVITE")
    assert sent.uri == f"sip:{NUMBER}@10.0.0.3:5060;transport=tcp"
    assert sent.top_via.transport == "TCP"
    assert str(sent.contact) == "<sip:10.0.0.1:5060;transport=tcp>"


def test_a_peer_that_registered_is_called_by_its_contact_and_reads_the_number_in_to() -> None:
    routes = (Route("branch", "sip:branch-7@10.0.0.3:5060", NUMBER),)
    world = World(Options(verdict=allow(routes=routes)))
    world.talk()
    invite = world.called.request("INVITE")
    assert (invite.uri, invite.to.uri) == ("sip:branch-7@10.0.0.3:5060", f"sip:{NUMBER}@10.0.0.3:5060")


def test_a_caller_may_give_up_a_call_that_has_no_target_at_all() -> None:
    world = World(Options(verdict=allow(routes=(Route("carrier", "nowhere", NUMBER),))))
    world.store.slow = True
    world.caller.cancel(world.caller.invite())
    world.run(40)
    assert world.caller.response(487)
