"""An endpoint in the middle of calls, fed with what resembles its messages: nothing raises, nothing is left over."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.dialog import Dialog
from gateway.sip.events import Event, InviteArrived, RequestArrived, ResponseArrived
from tests.gateway.sip.link import Link
from tests.gateway.sip.torture_cases import DROPPED, REFUSED, TAKEN

PIECES = [
    b"\r\n",
    b": ",
    b";",
    b",",
    b'"',
    b"<",
    b">",
    b"\r\n ",
    b"SIP/2.0",
    b"\n",
    b"ACK",
    b"CANCEL",
    b"z9hG4bK",
    b"0",
    b"tag=",
]


def seeds() -> list[bytes]:
    """Everything that two endpoints say to each other in a call, and the awkward messages."""
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    link.ann.endpoint.cancel(sent, now=link.now)
    link.answer(200)
    link.run(0.3)
    link.acknowledge()
    link.ask("BYE")
    link.run(0.4)
    link.answer(200)
    link.run(0.5)
    said = [data for side in (link.ann, link.bob) for _, data in side.sent]
    return said + [case.data for case in (*TAKEN, *REFUSED, *DROPPED)]


SEEDS = seeds()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_endpoint_survives_whatever_comes(data: st.DataObject) -> None:
    link = Link()
    waiting = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    assert waiting.state == "proceeding"
    for _ in range(data.draw(st.integers(1, 8))):
        octets = bytearray(data.draw(st.sampled_from(SEEDS)))
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(octets)))
            octets[at : at + data.draw(st.integers(0, 6))] = data.draw(
                st.one_of(st.binary(max_size=3), st.sampled_from(PIECES))
            )
        side = data.draw(st.sampled_from([link.ann, link.bob]))
        side.endpoint.receive(bytes(octets), side.flow._replace(host="192.0.2.7"), link.now)
        for event in side.endpoint.take_events():
            answer(link, side.endpoint, event)
        side.endpoint.take_output()
    for side in (link.ann, link.bob):
        finish(link, side.endpoint, side.events)
        for _ in range(400):
            side.deadlines.run(link.now)
            link.now += 0.5
        side.endpoint.take_output()
        assert [type(event) for event in side.endpoint.take_events() if isinstance(event, InviteArrived)] == []
    assert link.bob.endpoint.load == 0
    assert link.ann.endpoint.load <= 1, "only the INVITE that still rings may be left"


def answer(link: Link, endpoint: object, event: Event) -> None:
    """What a user of the endpoint would do about an event."""
    side = link.ann if endpoint is link.ann.endpoint else link.bob
    if isinstance(event, InviteArrived):
        side.endpoint.respond(event.transaction, 200, contact="<sip:x>", now=link.now)
        Dialog.as_server(event.request, event.transaction.to_tag).request("BYE")
    elif isinstance(event, RequestArrived):
        side.endpoint.respond(event.transaction, 481, now=link.now)
    elif isinstance(event, ResponseArrived) and event.response.status == 200 and event.transaction.is_invite:
        dialog = Dialog.as_client(event.response, "sip:bob@192.0.2.2")
        side.endpoint.ack(dialog.ack(event.response.cseq[0]), link.bob.flow)
        side.endpoint.request_in(dialog.request("BYE"), link.bob.flow, now=link.now)


def finish(link: Link, endpoint: object, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, InviteArrived | RequestArrived) and not event.transaction.finished:
            answer(link, endpoint, event)
