"""The gate registers with a carrier: endpoints of both, time that stands still, a real registrar's rules."""

import pytest

from gateway.sip.deadlines import Deadlines
from gateway.sip.digest import Credentials, Guard, Outcome
from gateway.sip.endpoint import ALLOWED, Endpoint, Identity
from gateway.sip.events import Flow, RequestArrived, RequestFailed, ResponseArrived
from gateway.sip.message import Request
from gateway.sip.registrar import Bindings, register
from gateway.sip.registration import RETRY_LONGEST_S, Registration, Wanted
from gateway.sip.transaction import ServerTransaction

GATE, CARRIER = ("192.0.2.1", 5060), ("192.0.2.9", 5060)
USER = Credentials("gate", "s3cret")
WANTED = Wanted("sip:192.0.2.9:5060", "sip:gate@carrier.example", "<sip:gate@192.0.2.1:5060>", 3600)


class Rig:
    """The gate's registration, and a carrier that asks for credentials."""

    def __init__(self, wanted: Wanted = WANTED, credentials: Credentials | None = USER, guarded: bool = True) -> None:
        self.now, self._number = 1000.0, 0
        self.deadlines = Deadlines()
        self.gate = Endpoint(Identity(*GATE), self.deadlines, self.token)
        self.carrier = Endpoint(Identity(*CARRIER), self.deadlines, self.token, allowed=(*ALLOWED, "REGISTER"))
        self.guard = Guard(b"0123456789abcdef", "carrier.example", {"gate": USER}) if guarded else None
        self.bindings: Bindings = ()
        self.heard: list[Request] = []
        self.told: list[tuple[bool, str]] = []
        self.answers: list[tuple[int, tuple[tuple[str, str], ...]]] = []
        """What the carrier says next instead of what it would."""
        self.away = False
        self.registration = Registration(
            wanted, credentials, self.gate, self.deadlines, self.token, lambda *told: self.told.append(told)
        )
        self.registration.start(self.now)
        self.run(0)

    def token(self) -> str:
        self._number += 1
        return f"t{self._number}"

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            self._settle()
            due = self.deadlines.next_at()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.deadlines.run(self.now)
        self.now = until
        self._settle()

    def _settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for event in self.gate.take_events():
                assert isinstance(event, ResponseArrived | RequestFailed)
                if isinstance(event, ResponseArrived):
                    event.transaction.owner.heard(event.response, self.now)
                else:
                    event.transaction.owner.failed(event.timeout, self.now)
            for taken in self.carrier.take_events():
                assert isinstance(taken, RequestArrived)
                self._answer(taken.transaction, taken.request)
            for endpoint, source, target in ((self.gate, GATE, self.carrier), (self.carrier, CARRIER, self.gate)):
                for _, data in endpoint.take_output():
                    busy = True
                    if not self.away:
                        target.receive(data, Flow("udp", *source), self.now)

    def _answer(self, transaction: ServerTransaction, request: Request) -> None:
        self.heard.append(request)
        now_s = int(self.now)
        if self.answers:
            status, headers = self.answers.pop(0)
        elif (
            self.guard is not None and self.guard.check(request, GATE[0], now_s, ["gate"]).outcome is not Outcome.RIGHT
        ):
            status, headers = 401, self.guard.challenge(request, GATE[0], self.token(), now_s, ["gate"])
        else:
            made = register(self.bindings, request, transaction.flow, now_s * 1000)
            status, headers = made.status, made.headers
            self.bindings = self.bindings if made.bindings is None else made.bindings
        self.carrier.respond(transaction, status, headers=headers, now=self.now)


def test_it_registers_with_credentials_and_refreshes_before_the_end() -> None:
    rig = Rig()
    assert rig.told == [(True, "")]
    assert [binding.uri for binding in rig.bindings] == ["sip:gate@192.0.2.1:5060"]
    first, second = rig.heard
    assert (first.uri, first.to.uri) == ("sip:192.0.2.9:5060", "sip:gate@carrier.example")
    assert (first.call_id, first.cseq[0] + 1) == (second.call_id, second.cseq[0])
    rig.run(3500)
    assert len(rig.heard) == 2
    rig.run(60)
    # the nonce is over by then, which the carrier says: one more round
    assert len(rig.heard) > 2
    assert rig.told == [(True, ""), (True, "")]
    assert rig.bindings[0].ends_ms > (rig.now + 3000) * 1000


def test_what_the_carrier_gives_counts() -> None:
    rig = Rig(guarded=False)
    rig.answers.append((200, (("Contact", "<sip:other@192.0.2.1>;expires=3000, <sip:gate@192.0.2.1>;expires=100"),)))
    rig.run(3600)
    heard = len(rig.heard)
    rig.run(49)  # less than half of 100 s after the refresh at 3540 s
    assert len(rig.heard) > heard - 1


def test_a_longer_one_is_asked_for_where_the_carrier_wants_it() -> None:
    rig = Rig(WANTED._replace(expires_s=60), guarded=False)
    rig.answers.append((423, (("Min-Expires", "1800"),)))
    rig.run(40)
    assert [request.get("Expires") for request in rig.heard] == ["60", "60", "1800"]
    assert rig.told[-1] == (True, "")
    rig.answers += [(423, (("Min-Expires", "1801"),)), (423, (("Min-Expires", "1802"),))]
    rig.run(1790)
    assert (True, "423 Interval Too Brief") in rig.told


def test_a_wrong_password_is_tried_again_ever_less_often() -> None:
    rig = Rig(credentials=Credentials("gate", "wrong"))
    assert rig.told == [(False, "401 Unauthorized")]
    rig.run(24 * 3600)
    # 30, 60, … 1800 s, each by half to the whole
    assert 24 * 3600 / RETRY_LONGEST_S < len(rig.told) < 2 * 24 * 3600 / RETRY_LONGEST_S + 8
    assert {there for there, _ in rig.told} == {False}


def test_without_credentials_a_challenge_is_a_failure() -> None:
    assert Rig(credentials=None).told == [(False, "401 Unauthorized")]


def test_it_is_not_lost_before_it_ends() -> None:
    rig = Rig(WANTED._replace(expires_s=600))
    rig.away = True
    rig.run(580)
    assert rig.told[-1] == (True, "no answer")
    rig.run(300)
    assert rig.told[-1] == (False, "no answer")
    rig.away = False
    rig.run(600)
    assert rig.told[-1] == (True, "")


def test_retry_after_is_obeyed() -> None:
    rig = Rig(guarded=False)
    rig.answers.append((503, (("Retry-After", "900 (busy)"),)))
    rig.run(3540)
    heard = len(rig.heard)
    rig.run(890)
    assert len(rig.heard) == heard
    rig.run(20)
    assert len(rig.heard) == heard + 1


@pytest.mark.parametrize("contact", ["<sip:gate@192.0.2.1:5060>;expires=junk", "nonsense", "<tel:+1>"])
def test_an_answer_that_does_not_name_us_gives_what_was_asked(contact: str) -> None:
    rig = Rig(guarded=False)
    rig.answers.append((200, (("Contact", contact),)))
    rig.run(3545)
    heard = len(rig.heard)
    rig.run(3500)
    assert len(rig.heard) == heard


def test_a_carrier_that_names_another_realm_each_time_is_answered_for_good() -> None:
    rig = Rig()
    for number in range(12):
        rig.guard = Guard(b"0123456789abcdef", f"realm{number}", {"gate": USER})
        rig.run(3600)
        assert rig.told[-1] == (True, "")


def test_after_a_failure_nothing_of_an_old_challenge_is_shown() -> None:
    rig = Rig()
    rig.answers.append((403, ()))
    rig.run(3600)
    assert (True, "403 Forbidden") in rig.told
    assert rig.told[-1] == (True, "")
    refused = next(number for number, request in enumerate(rig.heard) if number > 1 and request.get("Authorization"))
    assert rig.heard[refused + 1].get("Authorization") is None


def test_a_challenge_in_the_realm_of_the_gate_itself_is_a_failure_where_it_is_refused() -> None:
    rig = Rig()
    rig.registration = Registration(
        WANTED, USER, rig.gate, rig.deadlines, rig.token, lambda *told: rig.told.append(told), "carrier.example"
    )
    rig.registration.start(rig.now)
    rig.run(0)
    assert rig.told == [(True, ""), (False, "401 Unauthorized")]


def test_it_goes_where_the_registrar_was_found_and_elsewhere_after_a_failure() -> None:
    rig, asked = Rig(), []

    def find(failures: int) -> Flow | None:
        asked.append(failures)
        return Flow("udp", "192.0.2.66", 5070) if failures == 0 else None

    rig.registration = Registration(
        WANTED, USER, rig.gate, rig.deadlines, rig.token, lambda *told: rig.told.append(told), find=find
    )
    rig.registration.start(rig.now)
    (sent,) = rig.gate.take_output()
    assert sent.flow[:3] == ("udp", "192.0.2.66", 5070)
    rig.away = True
    rig.run(33)
    assert rig.told[-1] == (False, "no answer")
    rig.away = False
    rig.run(31)
    assert rig.told[-1] == (True, "")
    assert asked[:2] == [0, 1]
