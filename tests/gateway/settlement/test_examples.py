"""DOMAIN 8: the worked examples by their numbers, each from the provisioned directory to the books.

Decided by policy, paid by the real scripts in the real call's ticks, booked through the outbox; what is looked at are
balances, pools and rows of the usage report.  The rates are those of the examples (tests/gateway/settlement/gate.py).
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.ledger import Payment
from gateway.ledger.tables import notices
from gateway.settlement import Recharger
from gateway.settlement.expiry import LATE_MS, expire_lots
from gateway.settlement.payments import Answer
from gateway.settlement.payments.simulated import Simulated
from policy.reasons import REASONS

from .gate import Gate, Leg, open_gate
from .wallet import M, ms

CC = "MCOPSTNPP"
US, CA, FR, GB, ZW, CK = "+12125550123", "+14165550123", "+33123456789", "+442079461234", "+263771234567", "+68221234"
TOLL_FREE = "+18005550199"


@pytest.fixture
async def gate(tmp_path: Path, server: Any, ledger_url: str) -> AsyncIterator[Gate]:
    async for opened in open_gate(tmp_path, server.url, ledger_url):
        yield opened


def user(id_: str, location: str, *licences: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "usage_location": location, "licences": list(licences), **more}


def contoso(*users: dict[str, Any], **more: Any) -> dict[str, Any]:
    number = {"number": TOLL_FREE, "kind": "toll_free", "serves": "conference", "deliver_to": "pbx"}
    return {"id": "contoso", "country": "US", "user": list(users), "service_number": [number], **more}


def live(call: Leg | str) -> Leg:
    assert isinstance(call, Leg), call
    return call


async def told(gate: Gate) -> list[str]:
    async with gate.ledger.database.read() as connection:
        return list(await connection.scalars(select(notices.c.event).order_by(notices.c.at_ms, notices.c.event)))


async def settle_recharge(gate: Gate, provider: Any) -> None:
    fresh = Recharger(gate.ledger, gate.credit, provider)
    await fresh.watch()
    await fresh.pay()


class Declining:
    """A provider with whom the card has expired."""

    name = "declining"

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, _payment: Payment) -> Answer:
        self.asked += 1
        return Answer("declined", why="card expired")

    async def close(self) -> None:
        """Nothing is open."""


async def test_example_01_one_pool_for_all_organisers(gate: Gate) -> None:
    places = [("US", 10), ("GB", 100), ("ZW", 5)]
    await gate.open(contoso(*(user(f"{at}{n}", at, "MCOMEETADD") for at, count in places for n in range(count))))
    (pool,) = gate.directory.pools_of("contoso")
    assert (pool.name, pool.total_minutes) == ("MCOMEETADD/ZoneA", 6_900)
    for who in ("US0", "GB99", "ZW4"):
        leg = live(await gate.talk(FR, 60, who, "conference"))
        assert (leg.ended, leg.charge_micros) == ("COMPLETED", 0)
    await gate.book()
    assert await gate.used() == {"MCOMEETADD/ZoneA": 3}
    assert await gate.clean()


async def test_example_02_crossing_from_the_pool_to_credits(gate: Gate) -> None:
    await gate.open(contoso(user("org", "US", "MCOMEETADD", CC), purchased=[bought("MCOMEETADD", "US", 115)]))
    await gate.use_up(6_897, FR, "org", "conference")
    await gate.fund(1 * M)
    leg = live(await gate.talk(FR, 270, "org", "conference"))
    await gate.book()
    record = await gate.record(leg)
    assert (record.pool, record.pool_minutes, record.charge_micros) == ("MCOMEETADD/ZoneA", 3, 36_000)
    assert (record.talk_ms, record.billed_s, record.kind) == (270_000, 120, "conf_out")
    assert (await gate.used(), await gate.balance()) == ({"MCOMEETADD/ZoneA": 6_900}, 964_000)
    assert await gate.clean()


def bought(sku: str, country: str, count: int) -> dict[str, Any]:
    return {"sku": sku, "usage_country": country, "count": count}


async def test_example_03_zimbabwe_to_zimbabwe_is_paid_by_credits_and_leaves_the_pool_alone(gate: Gate) -> None:
    await gate.open(contoso(user("org", "ZW", "MCOMEETADD", CC), purchased=[bought("MCOMEETADD", "ZW", 115)]))
    await gate.fund(10 * M)
    leg = live(await gate.talk(ZW, 601, "org", "conference"))
    await gate.book()
    record = await gate.record(leg)
    assert (record.charge_micros, record.billed_s, record.pool_minutes) == (5_280_000, 660, 0)
    assert (await gate.used(), await gate.balance()) == ({}, 4_720_000)


async def test_example_04_a_calling_plans_pool_then_credits_or_the_end(gate: Gate) -> None:
    people = [user(f"u{n}", "GB", "MCOPSTN5", CC) for n in range(99)]
    await gate.open(contoso(*people, user("bare", "GB", "MCOPSTN5"), country="GB"))
    await gate.use_up(11_998, GB, "bare")
    await gate.fund(1 * M)
    leg = live(await gate.talk(GB, 300, "u1"))
    await gate.book()
    record = await gate.record(leg)
    assert (record.pool, record.pool_minutes, record.charge_micros) == ("MCOPSTN5/GB", 2, 60_000)
    assert (await gate.used(), await gate.balance()) == ({"MCOPSTN5/GB": 12_000}, 940_000)
    assert await gate.talk(GB, 300, "bare") == "NO_MINUTES"


async def test_example_04_without_a_credit_licence_it_is_torn_down_at_two_minutes(gate: Gate) -> None:
    await gate.open(contoso(*(user(f"u{n}", "GB", "MCOPSTN5") for n in range(100)), country="GB"))
    await gate.use_up(11_998, GB, "u0")
    await gate.fund(1 * M)
    leg = live(await gate.talk(GB, 300, "u1"))
    assert (leg.ended, leg.talk_ms, leg.charge_micros) == ("NO_MINUTES", 120_000, 0)
    await gate.book()
    assert (await gate.used(), await gate.balance()) == ({"MCOPSTN5/GB": 12_000}, 1 * M)


async def test_example_05_either_maximum_ends_the_international_plan(gate: Gate) -> None:
    await gate.open(contoso(user("u", "US", "MCOPSTN2", CC)))
    await gate.use_up(100, US, "u")
    await gate.use_up(600, FR, "u")
    await gate.fund(1 * M)
    leg = live(await gate.talk(US, 60, "u"))
    await gate.book()
    assert (leg.charge_micros, (await gate.record(leg)).pool_minutes) == (13_000, 0)
    assert await gate.used() == {"MCOPSTN2/US": 100, "MCOPSTN2/US/international": 600}
    assert await gate.balance() == 987_000


async def test_example_06_toll_free_two_ticks_of_ten_cents_then_refused_with_two_cents_left(gate: Gate) -> None:
    await gate.open(contoso())
    await gate.fund(100_000)
    leg = live(await gate.talk(TOLL_FREE, 600, trunk="carrier"))
    assert (leg.ended, leg.talk_ms, leg.charge_micros) == ("NO_CREDIT", 120_000, 80_000)
    assert await gate.talk(TOLL_FREE, 600, trunk="carrier") == "NO_CREDIT"
    await gate.book()
    assert await gate.balance() == 20_000
    assert (await gate.record(leg)).kind == "conf_in"


RECHARGE = {"enabled": True, "trigger": "50", "amount": "200"}


async def test_example_07_below_the_trigger_it_recharges_and_exactly_at_it_not(gate: Gate) -> None:
    await gate.open(contoso(user("u", "US", "PAYG-1", CC), recharge=RECHARGE))
    await gate.fund(50 * M)
    await settle_recharge(gate, Simulated())
    assert (await gate.balance(), await told(gate)) == (50 * M, [])
    await gate.fund(2 * M)
    assert live(await gate.talk(CK, 120, "u")).charge_micros == 2_400_000
    await gate.book()
    assert await gate.balance() == 49_600_000
    await settle_recharge(gate, Simulated())
    assert (await gate.balance(), await told(gate)) == (249_600_000, ["recharge.succeeded"])
    (lot,) = [lot for lot in await gate.ledger.lots("contoso") if lot.source == "auto"]
    assert (lot.amount_micros, lot.kind) == (200 * M, "recharge")
    assert await gate.clean()


async def test_example_08_declined_calls_go_on_until_zero_and_then_only_those_that_cost_nothing(gate: Gate) -> None:
    caller = user("u", "US", "PAYG-1", CC, number="+14255550100")
    await gate.open(contoso(caller, user("org", "US", "MCOMEETADD", CC), recharge=RECHARGE))
    await gate.fund(52 * M)
    assert live(await gate.talk(CK, 120, "u")).charge_micros == 2_400_000
    bank = Declining()
    await settle_recharge(gate, bank)
    await gate.book()
    assert (await gate.balance(), await told(gate)) == (49_600_000, ["recharge.failed"])
    assert live(await gate.talk(CK, 300, "u")).charge_micros == 6 * M
    await gate.book()
    await settle_recharge(gate, bank)
    assert (await gate.balance(), bank.asked) == (43_600_000, 1)
    await gate.use_up(60, FR, "org", "conference")
    assert live(await gate.talk(CK, 36 * 60 - 1, "u")).charge_micros == 43_200_000
    assert live(await gate.talk(GB, 20 * 60 - 1, "u")).charge_micros == 400_000
    await gate.book()
    assert await gate.balance() == 0
    refused = [
        await gate.talk(TOLL_FREE, 60, trunk="carrier"),
        await gate.talk(FR, 60, "org", "conference"),
        await gate.talk(US, 60, "u"),
    ]
    assert refused == ["NO_CREDIT"] * 3
    assert live(await gate.talk("+14255550100", 60, trunk="carrier")).verdict.kind == "user_in"
    await gate.book()
    assert await told(gate) == ["recharge.failed", "balance.zero"]
    assert await gate.clean()


async def test_example_09_a_policy_closes_the_conference_and_not_the_same_users_call(gate: Gate) -> None:
    policy = "DialoutCPCDomesticPSTNInternational"
    await gate.open(contoso(user("u", "US", "MCOMEETADD", "PAYG-1", CC, dial_out_policy=policy)))
    await gate.fund(1 * M)
    code = await gate.talk(GB, 60, "u", "conference")
    assert (code, REASONS[str(code)].sip_status) == ("DIAL_OUT_POLICY", 403)
    assert live(await gate.talk(GB, 60, "u")).charge_micros == 20_000
    await gate.book()
    refused = [each async for each in gate.ledger.usage("contoso", refused=True) if each.reason == code]
    assert [(each.kind, each.sip_status, each.charge_micros) for each in refused] == [("conf_out", 403, 0)]
    assert await gate.balance() == 980_000


@pytest.mark.parametrize("dialled", ["911", "112"])
async def test_example_10_emergency_calls_pass_a_closed_policy_and_a_balance_of_zero(gate: Gate, dialled: str) -> None:
    await gate.open(contoso(user("u", "US", dial_out_policy="DialoutCPCandPSTNDisabled")))
    leg = live(await gate.talk(dialled, 3_600, "u"))
    assert (leg.verdict.emergency, leg.verdict.kind, leg.ended) == (True, "user_out", "COMPLETED")
    assert (leg.talk_ms, leg.charge_micros) == (3_600_000, 0)
    await gate.book()
    assert ((await gate.record(leg)).payer, await gate.balance()) == ("none", 0)


async def test_example_11_shared_cost_is_paid_by_credits_and_premium_numbers_are_refused(gate: Gate) -> None:
    await gate.open(contoso(user("g", "GB", "MCOPSTN1", CC), user("u", "US", "MCOPSTN1", CC)))
    await gate.fund(1 * M)
    leg = live(await gate.talk("+448441234567", 190, "g"))
    assert leg.charge_micros == 580_000
    assert await gate.talk("+449091234567", 60, "g") == "NUMBER_CLASS"
    assert await gate.talk("+19002345678", 60, "u") == "NUMBER_CLASS"
    await gate.book()
    record = await gate.record(leg)
    assert (record.connect_micros, record.billed_s, record.pool_minutes) == (100_000, 240, 0)
    assert (await gate.used(), await gate.balance()) == ({}, 420_000)


async def test_example_12_the_oldest_lot_is_spent_first_and_its_rest_is_forfeited_a_year_later(gate: Gate) -> None:
    async def left() -> list[int]:
        assert await gate.ledger.lot_faults() == []
        return [lot.remaining_micros for lot in await gate.ledger.lots("contoso", spent=True)]

    await gate.open(contoso(user("u", "US", "PAYG-1", CC)))
    await gate.fund(50 * M, reference="A")
    gate.clock.ms = ms("2026-06-01T09:00")
    await gate.fund(50 * M, reference="B")
    assert live(await gate.talk(CK, 25 * 60, "u")).charge_micros == 30 * M
    await gate.book()
    assert await left() == [20 * M, 50 * M]
    gate.clock.ms = ms("2027-01-10T09:00")
    await expire_lots(gate.ledger, gate.credit)
    assert await left() == [20 * M, 50 * M], "charges of the last minute may be on their way"
    for _ in range(2):
        gate.clock.ms += LATE_MS
        await expire_lots(gate.ledger, gate.credit)
        await gate.book()
    assert (await left(), await gate.balance(), await told(gate)) == ([0, 50 * M], 50 * M, ["lot.expired"])
    (line,) = [each async for each in gate.ledger.postings("contoso") if each.kind == "expiry"]
    assert (line.amount_micros, line.reference, line.account) == (-20 * M, "expiry:1:1", "forfeited")
    assert await gate.clean()


async def test_example_13_two_toll_free_calls_race_for_eight_cents(gate: Gate) -> None:
    await gate.open(contoso())
    await gate.fund(80_000)
    calls = await asyncio.gather(*(gate.call(TOLL_FREE, trunk="carrier") for _ in range(2)))
    assert (await gate.credit.account("contoso")).available_micros == 0
    assert await gate.call(TOLL_FREE, trunk="carrier") == "NO_CREDIT"
    await gate.wait(600)
    assert [(live(each).ended, live(each).charge_micros) for each in calls] == [("NO_CREDIT", 40_000)] * 2
    await gate.book()
    assert await gate.balance() == 0


async def test_example_14_canada_is_domestic_for_minutes_and_not_for_a_policy(gate: Gate) -> None:
    closed = user("held", "US", "MCOPSTN1", dial_out_policy="DialoutCPCInternationalPSTNDomestic")
    await gate.open(contoso(user("u", "US", "MCOPSTN1"), closed))
    leg = live(await gate.talk(CA, 600, "u"))
    assert (leg.ended, leg.charge_micros) == ("COMPLETED", 0)
    assert await gate.talk(CA, 600, "held") == "DIAL_OUT_POLICY"
    await gate.book()
    assert (await gate.used(), (await gate.record(leg)).pool_minutes) == ({"MCOPSTN1/US": 10}, 10)
