"""Who may call: trunks by source, policy's verdict, and the gate's own limits, which emergency calls pass."""

from dataclasses import replace

import pytest

from gateway.config.facts import number_plan
from gateway.config.settings import TrunkSettings
from gateway.config.values import parse_host_rule
from gateway.sip.digest import Challenge, Credentials, Guard, Login
from gateway.sip.events import LOOP, Flow
from gateway.sip.message import Request, Response, parse
from gateway.sip.uri import SipUri
from gateway.transport.admission import Gate, Sources
from gateway.transport.locate import Located
from gateway.worker.callers import Callers
from gateway.worker.decide import Decider
from gateway.worker.directory import NEVER_READ
from gateway.worker.targets import Targets
from gateway.worker.ways import NumberForm, Ways
from policy.directory import Directory, Tenant, Trunk, User
from policy.verdict import Allow, Deny, Verdict
from rating.deck import load_deck

DECK = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,20000,0,60,60\n"
PLAN = number_plan()
INVITE = (
    "INVITE sip:{number}@gate SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.2:{via};branch=z9hG4bK1\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:+14255550000@pbx>;tag=1\r\nTo: <sip:{number}@gate>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"
    "Contact: <sip:pbx>\r\nContent-Length: 0\r\n\r\n"
)


class Rig:
    def __init__(self, max_calls: int = 100, per_second: int = 100) -> None:
        self.times: list[float] = []
        self.live = 0
        self.full = False
        sources = Sources(
            {
                "pbx": [parse_host_rule("127.0.0.2")],
                "other": [parse_host_rule("127.0.0.2:5099")],
                "carrier": [parse_host_rule("127.0.0.3")],
                "gone": [parse_host_rule("127.0.0.4")],
            }
        )
        gate = Gate(max_calls, per_second)
        self.decider = Decider(sources, gate, PLAN, lambda now: 1_760_000_000_000, self.times.append)
        self.decider.ordinary_calls = lambda: self.live
        self.decider.outbox_full = lambda: self.full
        trunks = {
            "pbx": Trunk("pbx", "access", tenant="contoso"),
            "other": Trunk("other", "access", tenant="contoso"),
            "carrier": Trunk("carrier", "carrier", targets=("sip:127.0.0.3:5090",), emergency=True),
        }
        deck = load_deck("standard", DECK.splitlines(), "USD")
        tenants = {"contoso": Tenant("contoso", rate_deck="standard")}
        self.decider.directory = Directory(1, trunks, tenants, decks={"standard": deck})

    def ask(
        self,
        number: str = "+442079460000",
        host: str = "127.0.0.2",
        port: int = 5060,
        transport: str = "udp",
        via: int = 5060,
    ) -> Verdict:
        verdict = self.decide(number, Flow(transport, host, port, 1), via)
        assert not isinstance(verdict, Challenge)
        return verdict

    def decide(self, number: str, flow: Flow, via: int = 5060, headers: str = "") -> Verdict | Challenge:
        text = INVITE.format(number=number, transport=flow.transport.upper(), via=via)
        request = parse(text.replace("Content-Length", headers + "Content-Length").encode())
        assert isinstance(request, Request)
        return self.decider(request, flow, 10.0)


def code(verdict: Verdict) -> str:
    return verdict.reason.code if isinstance(verdict, Deny) else "allowed"


def test_a_call_of_a_known_source_is_allowed_and_timed() -> None:
    rig = Rig()
    verdict = rig.ask()
    assert isinstance(verdict, Allow)
    assert (verdict.tenant_id, verdict.trunk) == ("contoso", "pbx")
    assert len(rig.times) == 1


@pytest.mark.parametrize("host", ["127.0.0.9", "127.0.0.4"])
def test_a_source_without_trunk_is_refused(host: str) -> None:
    assert code(Rig().ask(host=host)) == "UNKNOWN_SOURCE"


def test_a_contact_elsewhere_is_expected_once_the_call_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    expected: list[str] = []
    rig.decider.expect = expected.append
    here, whole = Flow("udp", "127.0.0.2", 5060, 1), INVITE
    for contact in ("<sip:x@192.0.2.7:5062>", "<sip:x@127.0.0.2:5062>", "<tel:+1>", "<nonsense>", "nothing <"):
        monkeypatch.setitem(globals(), "INVITE", whole.replace("<sip:pbx>", contact))
        rig.decide("+442079460000", here)
    monkeypatch.setitem(globals(), "INVITE", whole.replace("<sip:pbx>", "<sip:x@192.0.2.8>"))
    rig.decide("+442079460000", Flow("udp", "127.0.0.9", 5060, 1))
    assert expected == ["192.0.2.7"]


def test_what_a_trunk_forwards_is_that_trunks_call_wherever_it_is() -> None:
    rig = Rig()
    assert rig.decider.callers is None
    verdict = rig.decide("+442079460000", Flow(LOOP, "pbx", 0))
    assert isinstance(verdict, Allow)
    assert (verdict.trunk, verdict.tenant_id) == ("pbx", "contoso")
    unknown = rig.decide("+442079460000", Flow(LOOP, "nobody", 0))
    assert isinstance(unknown, Deny)
    assert unknown.reason.code == "UNKNOWN_SOURCE"


def test_who_forwards_is_believed_of_the_gate_itself_where_the_trunk_is_not() -> None:
    rig = Rig()
    expected: list[str] = []
    rig.decider.expect = expected.append
    rig.decider.untrusted = frozenset({"pbx"})
    boss = User("boss", "contoso", number="+14255550001")
    rig.decider.directory = replace(rig.decider.directory, users_by_number={boss.number: boss})
    says = f"Diversion: <sip:{boss.number}@gate>\r\n"
    kinds = []
    for flow in (Flow("udp", "127.0.0.2", 5060, 1), Flow(LOOP, "pbx", 0)):
        verdict = rig.decide("+442079460000", flow, headers=says)
        assert isinstance(verdict, Allow)
        kinds.append((verdict.kind, verdict.user_id))
    assert kinds == [("user_out", ""), ("user_out_forwarding", "boss")]
    assert expected == ["pbx"], "where the gate itself is needs no expecting"


def test_on_a_stream_the_port_of_the_via_names_the_trunk() -> None:
    rig = Rig()
    by_via = rig.ask(port=41234, transport="tcp", via=5099)
    assert isinstance(by_via, Allow)
    assert by_via.trunk == "other"
    by_source = rig.ask(port=5099, transport="tcp", via=5060)
    assert isinstance(by_source, Allow)
    assert by_source.trunk == "pbx"


def test_the_gate_takes_so_many_calls_and_keeps_two_percent_for_emergencies() -> None:
    rig = Rig(max_calls=100)
    rig.live = 98
    assert code(rig.ask()) == "GATE_CALLS"
    assert code(rig.ask("911")) == "allowed"
    rig.live = 97
    assert code(rig.ask()) == "allowed"


def test_the_gate_takes_so_many_calls_a_second_and_emergencies_beside_them() -> None:
    rig = Rig(per_second=2)
    assert [code(rig.ask()) for _ in range(3)] == ["allowed", "allowed", "GATE_CALLS_PER_SECOND"]
    emergency = rig.ask("911")
    assert isinstance(emergency, Allow)
    assert emergency.emergency


def test_a_refusal_for_the_gates_limits_still_says_whose_call_it_was() -> None:
    rig = Rig()
    rig.full = True
    verdict = rig.ask()
    assert isinstance(verdict, Deny)
    assert (verdict.reason.code, verdict.tenant_id, verdict.trunk) == ("OUTBOX_FULL", "contoso", "pbx")
    assert verdict.number == "+442079460000"


def test_a_call_that_policy_refuses_takes_no_token() -> None:
    rig = Rig(per_second=1)
    assert code(rig.ask("+999")) not in ("allowed", "GATE_CALLS_PER_SECOND")
    assert code(rig.ask()) == "allowed"


def test_without_any_directory_calls_are_put_off_and_emergencies_pass() -> None:
    """A first start without stores: a 403 would be untrue, for nobody has looked."""
    rig = Rig()
    rig.decider.directory = Directory(NEVER_READ, rig.decider.directory.trunks)
    assert code(rig.ask()) == "STORE_AWAY"
    assert isinstance(rig.ask("911"), Allow)


def test_routes_get_the_order_of_the_moment_emergency_calls_too() -> None:
    rig = Rig()
    carrier = TrunkSettings.model_validate(
        {"name": "carrier", "role": "carrier", "targets": ["sip:127.0.0.3:5090"], "proxy": "sip:127.0.0.9"}
    )

    async def locate(uri: SipUri) -> Located:
        raise AssertionError("an address is not looked up")

    rig.decider.targets = Targets([carrier], locate)
    for number in ("+442079460000", "911"):
        verdict = rig.ask(number)
        assert isinstance(verdict, Allow)
        assert [(route.hop, route.proxy) for route in verdict.routes] == [("sip:127.0.0.9:5060", "sip:127.0.0.9")]


# who has to show credentials

HERE = Flow("udp", "127.0.0.2", 5060, 1)
ELSEWHERE = Flow("udp", "198.51.100.9", 5060, 1)
PASSWORDS = {"pbx": Credentials("pbx", "s3cret"), "branch": Credentials("branch", "other")}


class Guarded(Rig):
    """``pbx`` has to show credentials from its address, ``branch`` from anywhere; ``other`` none."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []
        self._numbers = iter(range(1000))
        self.decider.callers = Callers(
            Guard(b"0123456789abcdef", "callgate", PASSWORDS), PASSWORDS, ["branch"],
            unix_ms=lambda now: 1_760_000_000_000, new_token=self.token, count=self.counted.append,
        )  # fmt: skip
        trunks = {**self.decider.directory.trunks, "branch": Trunk("branch", "access", tenant="contoso")}
        self.decider.directory = replace(self.decider.directory, trunks=trunks)

    def token(self) -> str:
        return f"t{next(self._numbers)}"

    def shown(self, flow: Flow, name: str, number: str = "+442079460000") -> Verdict | Challenge:
        """The verdict on an INVITE that answers the challenge to the first."""
        challenge = self.decide(number, flow)
        assert isinstance(challenge, Challenge)
        lines = "".join(f"{each}: {value}\r\n" for each, value in challenge.headers)
        response = parse(
            f"SIP/2.0 401 x\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n"
            f"CSeq: 1 INVITE\r\n{lines}\r\n".encode()
        )
        assert isinstance(response, Response)
        login = Login(PASSWORDS[name], self.token)
        assert login.learn(response, set())
        ((header, value),) = login.headers("INVITE", f"sip:{number}@gate")
        return self.decide(number, flow, headers=f"{header}: {value}\r\n")


def test_a_trunk_with_digest_is_challenged_at_its_own_address() -> None:
    rig = Guarded()
    challenge = rig.decide("+442079460000", HERE)
    assert isinstance(challenge, Challenge)
    assert [name for name, _ in challenge.headers] == ["WWW-Authenticate", "WWW-Authenticate", "Warning", "Reason"]
    verdict = rig.shown(HERE, "pbx")
    assert isinstance(verdict, Allow)
    assert verdict.trunk == "pbx"
    assert rig.counted == ["none", "none", "right"]


def test_credentials_of_another_trunk_do_not_help() -> None:
    assert isinstance(Guarded().shown(HERE, "branch"), Challenge)
    assert isinstance(Guarded().shown(ELSEWHERE, "pbx"), Challenge)


def test_a_trunk_that_registers_is_known_by_its_credentials_wherever_it_calls_from() -> None:
    verdict = Guarded().shown(ELSEWHERE, "branch")
    assert isinstance(verdict, Allow)
    assert verdict.trunk == "branch"


def test_a_challenge_tells_nothing_of_the_call() -> None:
    rig = Guarded()
    assert isinstance(rig.decide("+35312345678", HERE), Challenge)  # without a rate
    assert isinstance(rig.shown(HERE, "pbx", "+35312345678"), Deny)


def test_a_trunk_without_digest_and_a_gate_without_registrations_are_as_ever() -> None:
    assert isinstance(Guarded().decide("+442079460000", Flow("udp", "127.0.0.2", 5099, 1)), Allow)
    rig = Guarded()
    assert rig.decider.callers is not None
    rig.decider.callers._registering = frozenset()
    assert code(rig.ask(host="127.0.0.9")) == "UNKNOWN_SOURCE"


def test_an_emergency_call_shows_no_credentials() -> None:
    rig = Guarded()
    verdict = rig.decide("911", HERE)
    assert isinstance(verdict, Allow)
    assert verdict.emergency
    assert isinstance(rig.decide("911", ELSEWHERE), Challenge)  # nobody knows whose it is
    assert rig.decider.callers is not None
    rig.decider.callers.registered_at = lambda host, port: "branch"
    found = rig.decide("911", ELSEWHERE)
    assert isinstance(found, Allow)
    assert (found.trunk, found.emergency) == ("branch", True)


# where a trunk is, and how it is told numbers


def test_a_carrier_is_told_numbers_in_its_own_form() -> None:
    rig = Rig()
    rig.decider.ways = Ways(lambda trunk, now: None, {"carrier": NumberForm("0011#", plus=False)})
    verdict = rig.ask()
    assert isinstance(verdict, Allow)
    assert [(route.target, route.number) for route in verdict.routes] == [("sip:127.0.0.3:5090", "0011#442079460000")]
    emergency = rig.ask("911")
    assert isinstance(emergency, Allow)
    assert emergency.routes[0].number == "911"


def test_a_route_leads_to_where_the_trunk_has_registered() -> None:
    rig = Rig()
    places: dict[str, tuple[str, ...]] = {"carrier": ("sip:192.0.2.7:5060", "sip:192.0.2.8:5060")}
    rig.decider.ways = Ways(lambda trunk, now: places.get(trunk), {})
    verdict = rig.ask()
    assert isinstance(verdict, Allow)
    assert [route.target for route in verdict.routes] == ["sip:192.0.2.7:5060", "sip:192.0.2.8:5060"]
    places["carrier"] = ()
    assert code(rig.ask()) == "NOT_REGISTERED"


@pytest.mark.parametrize(
    ("form", "number", "told"),
    [
        (NumberForm(), "+4420", "+4420"),
        (NumberForm("99"), "+4420", "99+4420"),
        (NumberForm("", plus=False), "+4420", "4420"),
        (NumberForm("00", plus=False), "+4420", "004420"),
        (NumberForm("00", plus=False), "911", "911"),
    ],
)
def test_the_forms_of_numbers(form: NumberForm, number: str, told: str) -> None:
    assert form.write(number) == told
