"""Records written piece by piece read back as the one record type; what is stored for adoption reads back too."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import adoption, records
from gateway.call.adoption import Talking, Unanswered, decode
from gateway.call.commands import Answer, Reserve
from gateway.call.record import CallRecord, decode_record
from gateway.call.records import Ending
from gateway.call.settings import CallSettings
from policy.drawn import Minutes
from policy.reasons import REASONS
from policy.verdict import Deny
from rating.tariff import Tariff
from tests.gateway.call.world import CALLER, CARRIER, NUMBER, PBX, Options, World, allow

WORDS = st.text(max_size=20)


@given(caller=WORDS, name=WORDS, sip_call_id=WORDS, carrier=WORDS, domestic=st.booleans())
def test_a_record_reads_back_whatever_its_texts(
    caller: str, name: str, sip_call_id: str, carrier: str, domestic: bool
) -> None:
    verdict = allow(
        caller=caller, user_name=name, domestic=domestic, tariff=Tariff(7, 3), user_id="u", user_location="US",
        number_type="MOBILE", destination="Somewhere", conference="c", capability="x", payer="pool",
    )  # fmt: skip
    opening = records.opening(verdict, "id", sip_call_id, "gate-1", "pbx", 5)
    data = records.answered(opening, carrier, 10, 2500, 3, 99, Ending("COMPLETED", 200, "caller"))
    assert decode_record(data) == CallRecord(
        call_id="id", tenant_id="contoso", kind="user_out", sip_call_id=sip_call_id, node="gate-1", trunk="pbx",
        carrier=carrier, user_id="u", user_name=name, user_location="US", caller=caller, dialled=NUMBER, number=NUMBER,
        number_type="MOBILE", domestic=domestic, destination="Somewhere", conference="c", capability="x",
        currency="USD", payer="pool", invited_ms=5, answered_ms=10, ended_ms=2510, talk_ms=2500, billed_s=3,
        rate_micros_per_min=7, connect_micros=3, charge_micros=99, reason="COMPLETED", sip_status=200,
        ended_by="caller",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("minutes", "billed_s", "charge", "paid"),
    [
        ([Minutes("P/US", "2026-12", 2)], 0, 0, ("pool", "P")),
        ([Minutes("Q/US", "2026-12", 2), Minutes("P/US", "2026-12", 1)], 60, 99, ("pool", "Q")),
        ([], 60, 99, ("credits", "CC")),
        ([], 60, 0, ("credits", "CC")),
        ([], 0, 0, ("pool", "P")),
    ],
)
def test_who_paid_is_told_by_what_the_call_used(
    minutes: list[Minutes], billed_s: int, charge: int, paid: tuple[str, str]
) -> None:
    verdict = allow(tariff=Tariff(7, 3), payer="pool", capability="P", credit="CC")
    opening = records.opening(verdict, "id", "c", "gate-1", "pbx", 5)
    over = Ending("COMPLETED", 200, "caller")
    record = decode_record(records.answered(opening, "", 10, 2500, billed_s, charge, over, minutes=minutes))
    assert (record.payer, record.capability) == paid
    assert decode_record(record.encode()) == record
    refused = decode_record(records.unanswered(opening, "", 5, Ending("NO_MINUTES", 403, "gate")))
    assert (refused.payer, refused.capability) == ("pool", "P")


def test_a_refusals_record_reads_back() -> None:
    verdict = Deny(REASONS["NO_RATE"], tenant_id="t", kind="user_out", caller="+1", dialled="+2", trunk="pbx")
    opening = records.opening(verdict, "id", "c", "n", "pbx", 5)
    record = decode_record(records.unanswered(opening, "", 5, Ending("NO_RATE", 404, "gate")))
    assert (record.reason, record.sip_status, record.answered_ms, record.charge_micros) == ("NO_RATE", 404, 0, 0)


def test_what_is_stored_with_the_reservation_is_a_record() -> None:
    world = World()
    world.caller.invite()
    (reserve,) = [command for command in world.store.commands if isinstance(command, Reserve)]
    record = decode_record(reserve.usage)
    assert (record.call_id, record.number, record.answered_ms) == (reserve.call_id, NUMBER, 0)


def test_what_another_process_needs_before_the_answer() -> None:
    world = World()
    world.store.slow = True
    world.caller.invite(call_id="abc")
    (reserve,) = [command for command in world.store.commands if isinstance(command, Reserve)]
    world.store.slow = False
    world.settle()
    stored, sent, came = decode(reserve.adoption), world.called.request("INVITE"), world.sent[0][3]
    assert isinstance(stored, Unanswered)
    assert stored.vias == (came.get("Via"),)
    assert (stored.from_, stored.to, stored.call_id) == (came.get("From"), came.get("To"), "abc")
    assert (stored.cseq, stored.flow[:3]) == ("1 INVITE", ("udp", *PBX))
    assert stored.branch == sent.top_via.branch
    assert (stored.target_uri, stored.target_flow[:3]) == (sent.uri, ("udp", *CARRIER))
    assert (stored.sent_call_id, stored.sent_cseq, stored.local_tag) == (sent.call_id, 1, sent.from_.tag)
    assert f"{stored.local};tag={stored.local_tag}" == sent.get("From")


def test_what_another_process_needs_after_the_answer() -> None:
    world = World(Options(settings=CallSettings(tick_s=10)))
    world.caller.invite(headers=(("Supported", "timer"), ("Session-Expires", "600"), ("Allow", "UPDATE")))
    world.called.answer("INVITE", 200, tag="b1")
    (answer,) = [command for command in world.store.commands if isinstance(command, Answer)]
    stored = decode(answer.adoption)
    assert isinstance(stored, Talking)
    assert not stored.acked
    caller, called = stored.caller, stored.called
    got = world.caller.response(200, "INVITE")
    assert (caller.dialog.call_id, caller.dialog.local_tag) == (got.call_id, got.to.tag)
    assert caller.dialog.remote_tag == got.from_.tag
    assert CALLER in caller.dialog.remote
    assert (caller.session_duty, caller.session_interval_s, caller.allows_update) == ("watch", 600, True)
    assert (called.dialog.remote_tag, called.dialog.local_seq, called.flow[:3]) == ("b1", 1, ("udp", *CARRIER))
    assert called.session_duty == "probe"
    assert called.dialog.request("BYE").cseq == 2


@pytest.mark.parametrize("data", [b"[3]", b"[1,2]", b"[]", b"{}", b"7", b"[2,1,1,1,1,1,1,1,1,1,1,1]"])
def test_what_is_no_adoption_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an adoption record"):
        decode(data)


def test_adoption_records_are_small() -> None:
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", 200, tag="b1")
    for command in world.store.commands:
        if isinstance(command, Reserve | Answer):
            assert len(command.adoption) < 700
            assert json.loads(command.adoption)[0] in (adoption.UNANSWERED, adoption.ANSWERED)


def test_a_whole_record_encodes_and_reads_back() -> None:
    record = CallRecord("id", "t", "user_out", caller="\ud800", charge_micros=7, count=3)
    again = decode_record(record.encode())
    assert (again.charge_micros, again.count, again.caller) == (7, 3, "?")


@pytest.mark.parametrize("data", [b"[]", b"7", b"{}", b"nonsense"])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|Expecting"):
        decode_record(data)


@pytest.mark.parametrize("bad", [{"tick_s": 0}, {"session_expires_s": 89}, {"session_expires_s": -1}])
def test_settings_that_cannot_be_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        CallSettings(**bad)


def test_a_lead_time_of_a_whole_tick_is_half_of_one() -> None:
    assert CallSettings(tick_s=2, renew_lead_s=2.0).lead_s == 1.0
    assert CallSettings(tick_s=60, renew_lead_s=2.0).lead_s == 2.0
