"""Dialogs: tags, targets, routes and numbers of both sides."""

from gateway.sip.build import build_response
from gateway.sip.dialog import Dialog
from gateway.sip.message import Request, Response, parse

INVITE = (
    b"INVITE sip:bob@gate.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1\r\n"
    b"Record-Route: <sip:p1.example;lr>, <sip:p2.example:5070;lr>\r\n"
    b'From: "Ann" <sip:ann@pbx.example>;tag=f1\r\n'
    b"To: <sip:bob@gate.example>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:ann@192.0.2.1:5062>\r\n\r\n"
)


def request(data: bytes = INVITE) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


def answer(status: int, tag: str, contact: str = "<sip:bob@192.0.2.2>", invite: bytes = INVITE) -> Response:
    message = parse(build_response(request(invite), status, to_tag=tag, contact=contact))
    assert isinstance(message, Response)
    return message


def test_the_called_side_sends_along_the_route_as_it_was_recorded() -> None:
    dialog = Dialog.as_server(request(), "t1")
    assert (dialog.local, dialog.remote) == ("<sip:bob@gate.example>;tag=t1", '"Ann" <sip:ann@pbx.example>;tag=f1')
    assert (dialog.call_id, dialog.local_tag, dialog.remote_tag, dialog.remote_seq) == ("c1", "t1", "f1", 7)
    bye = dialog.request("BYE")
    assert (bye.uri, bye.cseq) == ("sip:ann@192.0.2.1:5062", 1)
    assert bye.route == ("<sip:p1.example;lr>", "<sip:p2.example:5070;lr>")


def test_the_calling_side_sends_along_it_in_reverse() -> None:
    dialog = Dialog.as_client(answer(180, "t1"), "sip:bob@gate.example")
    assert not dialog.confirmed
    assert (dialog.local, dialog.remote) == ('"Ann" <sip:ann@pbx.example>;tag=f1', "<sip:bob@gate.example>;tag=t1")
    bye = dialog.request("BYE")
    assert (bye.uri, bye.cseq, bye.from_) == ("sip:bob@192.0.2.2", 8, dialog.local)
    assert bye.route == ("<sip:p2.example:5070;lr>", "<sip:p1.example;lr>")
    assert dialog.ack(7).cseq == 7
    assert dialog.local_seq == 8


def test_the_first_request_of_the_called_side_may_have_any_number() -> None:
    """Once 0, which is a number like any other (RFC 3261 8.1.1.5), was out of order."""
    dialog = Dialog.as_client(answer(200, "t1"), "sip:bob@gate.example")
    info = INVITE.replace(b"INVITE", b"INFO").replace(b"CSeq: 7", b"CSeq: 0")
    assert dialog.accept(request(info))
    assert not dialog.accept(request(info))


def test_a_strict_router_gets_its_own_uri_and_the_target_goes_last() -> None:
    invite = INVITE.replace(
        b"<sip:p1.example;lr>, <sip:p2.example:5070;lr>", b"<sip:old.example;x=y>, <sip:p2.example;lr>"
    )
    bye = Dialog.as_server(request(invite), "t1").request("BYE")
    assert bye.uri == "sip:old.example;x=y"
    assert bye.route == ("<sip:p2.example;lr>", "<sip:ann@192.0.2.1:5062>")


def test_without_a_usable_contact_the_other_side_is_met_where_it_was() -> None:
    caller = Dialog.as_server(request(INVITE.replace(b"Contact: <sip:ann@192.0.2.1:5062>\r\n", b"")), "t1")
    assert caller.remote_target == "sip:ann@pbx.example"
    for contact in ("", "<tel:+14255550100>", "<sip:;>", "*"):
        assert (
            Dialog.as_client(answer(200, "t1", contact), "sip:bob@gate.example").remote_target == "sip:bob@gate.example"
        )


def test_the_2xx_confirms_the_early_dialog_with_its_own_target_and_route() -> None:
    dialog = Dialog.as_client(answer(180, "t1", "<sip:early@192.0.2.2>"), "sip:bob@gate.example")
    late = INVITE.replace(b"<sip:p1.example;lr>, ", b"")
    dialog.confirm(answer(200, "t1", "<sip:late@192.0.2.3>", late))
    assert (dialog.confirmed, dialog.remote_target) == (True, "sip:late@192.0.2.3")
    assert dialog.route_set == ("<sip:p2.example:5070;lr>",)


def test_numbers_must_rise() -> None:
    dialog = Dialog.as_server(request(), "t1")
    accepted = [
        dialog.accept(request(INVITE.replace(b"CSeq: 7", b"CSeq: %d" % number))) for number in (7, 6, 9, 9, 8, 10)
    ]
    assert accepted == [False, False, True, False, False, True]


def test_a_target_refresh() -> None:
    dialog = Dialog.as_server(request(), "t1")
    assert not dialog.refresh_target(request())
    assert dialog.refresh_target(request(INVITE.replace(b"ann@192.0.2.1:5062", b"ann@192.0.2.9")))
    assert dialog.remote_target == "sip:ann@192.0.2.9"
    assert not dialog.refresh_target(request(INVITE.replace(b"Contact: <sip:ann@192.0.2.1:5062>\r\n", b"")))


def test_whose_request_it_is() -> None:
    dialog = Dialog.as_server(request(), "t1")
    within = INVITE.replace(b"gate.example>\r\n", b"gate.example>;tag=t1\r\n", 1).replace(
        b"To: <sip:bob@gate.example>;", b"To: <sip:bob@gate.example>;"
    )
    assert dialog.owns(request(within))
    assert not dialog.owns(request(within.replace(b"tag=t1", b"tag=t2")))
    assert not dialog.owns(request(within.replace(b"tag=f1", b"tag=f2")))
    assert not dialog.owns(request(within.replace(b"c1", b"c2")))


def test_each_fork_has_a_dialog_of_its_own_and_a_far_side_without_a_tag_has_one_too() -> None:
    forks = [Dialog.as_client(answer(183, tag), "sip:bob@gate.example") for tag in ("t1", "t2", "")]
    assert [fork.remote_tag for fork in forks] == ["t1", "t2", ""]
    assert {fork.local_tag for fork in forks} == {"f1"}
