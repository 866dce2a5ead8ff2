"""What the settings make of a registration with a carrier, and what is told of it."""

from pathlib import Path

import pytest

from gateway.call.b2bua import B2bua
from gateway.call.settings import CallSettings
from gateway.config.settings import Settings, parse
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.message import Request
from gateway.sip.message import parse as parse_message
from gateway.sip.registration import Wanted
from gateway.telemetry.metrics import REGISTERED, Meter
from gateway.telemetry.worker import WorkerMetrics
from gateway.worker.registrations import Registrations, registered_users, wanted
from policy.reasons import REASONS
from policy.verdict import Deny


def settings(**registration: object) -> Settings:
    trunk = {
        "name": "carrier", "role": "carrier", "hosts": ["192.0.2.9"], "targets": ["sip:192.0.2.9"],
        "digest": {"username": "g 1", "password": "xyzzy"}, "registration": registration,
    }  # fmt: skip
    plain = {"name": "plain", "role": "carrier", "targets": ["sip:192.0.2.8"]}
    return parse({"trunk": [trunk, plain]}, "", Path("/x"))


@pytest.mark.parametrize(
    ("registration", "expected"),
    [
        (
            {"registrar": "sip:192.0.2.9:5070"},
            Wanted("sip:192.0.2.9:5070", "sip:g%201@192.0.2.9", "<sip:g%201@127.0.0.1:5060>", 3600),
        ),
        (
            {"registrar": "sip:carrier.example;transport=tcp", "address": "sip:+1425@ims.example", "expires_s": 600},
            Wanted(
                "sip:carrier.example;transport=tcp", "sip:+1425@ims.example",
                "<sip:+1425@127.0.0.1:5060;transport=tcp>", 600,
            ),
        ),
    ],
)  # fmt: skip
def test_what_is_registered(registration: dict[str, object], expected: Wanted) -> None:
    given = settings(**registration)
    assert wanted(given.trunk[0], given) == expected
    assert list(registered_users(given.trunk)) == ["carrier"]


def test_whether_it_is_up_is_a_metric() -> None:
    deadlines, meter = Deadlines(), Meter()
    endpoint = Endpoint(Identity("127.0.0.1", 5060), deadlines, lambda: "t")
    b2bua = B2bua(
        endpoint, deadlines, lambda request, flow, now: Deny(REASONS["UNKNOWN_SOURCE"]), CallSettings(),
        lambda now: 0, lambda: "t", lambda: "t",
    )  # fmt: skip
    metrics = WorkerMetrics(meter)
    registrations = Registrations(settings(registrar="sip:192.0.2.9"), {}, b2bua, deadlines, metrics)
    gauge = meter.gauge(REGISTERED).values
    assert gauge == {("carrier",): 0}
    registrations.start(10.0)
    (sent,) = endpoint.take_output()
    request = parse_message(sent.data)
    assert isinstance(request, Request)
    via = request.get("Via")
    answer = (
        f"SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {request.get('From')}\r\nTo: {request.get('To')};tag=9\r\n"
        f"Call-ID: {request.call_id}\r\nCSeq: {request.get('CSeq')}\r\nContent-Length: 0\r\n\r\n"
    )
    endpoint.receive(answer.encode(), sent.flow, 10.0)
    for event in endpoint.take_events():
        b2bua.handle(event, 10.0)
    assert gauge == {("carrier",): 1}
