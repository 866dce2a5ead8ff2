"""DOMAIN 3: each row of the decision table over the real scripts: at zero balance, and when what pays ends in mid-call.

A row has one of four payers, and each of them has its two columns of the table; ``PAYERS`` says them in one place.
Before a call is cut its pool is down to its last minute and the balance is worth two.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.ledger import ledger_url as sqlalchemy_url
from policy.verdict import Allow
from rating.tariff import price_micros

from .gate import Gate, Leg, open_gate

CC = "MCOPSTNPP"
HOUR_S = 3_600
US, CA, FR, GB, ZW = "+12125550123", "+14165550123", "+33123456789", "+442079461234", "+263771234567"
GB_MOBILE, GB_SHARED, SATELLITE, US_TOLL_FREE = "+447400123456", "+448441234567", "+881612345678", "+18772345678"
BRIDGE, TOLL_FREE_BRIDGE, OWN_BRIDGE = "+14255550198", "+18005550199", "+14255550196"
ATTENDANT, QUEUE, TOLL_FREE_QUEUE, NOBODYS = "+14255550197", "+14255550195", "+18005550196", "+14255550150"
DOMS = "+14255550100"

Payer = Literal["pool, then credits", "pool alone", "credits", "nobody"]


@dataclass(frozen=True)
class Columns:
    """What a payer means: how a call is answered at a balance of zero, then also without minutes; how it is cut."""

    at_zero: str
    without_minutes: str
    cut: str
    minutes: int
    """Talk until it is cut, of one minute of a pool and two of money."""


PAYERS: dict[Payer, Columns] = {
    "pool, then credits": Columns("", "NO_CREDIT", "NO_CREDIT", 3),
    "pool alone": Columns("", "NO_MINUTES", "NO_MINUTES", 1),
    "credits": Columns("NO_CREDIT", "NO_CREDIT", "NO_CREDIT", 2),
    "nobody": Columns("", "", "COMPLETED", 60),
}


@dataclass(frozen=True)
class Row:
    """A call of one row of the table."""

    name: str
    payer: Payer
    dialled: str
    who: str = ""
    kind: str = ""
    caller: str = ""
    trunk: str = "pbx"

    @property
    def call(self) -> dict[str, str]:
        return {"who": self.who, "kind": self.kind, "caller": self.caller, "trunk": self.trunk}


ROWS = [
    Row("1 domestic", "pool, then credits", US, "dom"),
    Row("1 domestic, no credit licence", "pool alone", US, "dom0"),
    Row("1 Canada is domestic", "pool, then credits", CA, "dom"),
    Row("2 international, domestic plan", "credits", GB, "dom"),
    Row("3 international plan", "pool, then credits", FR, "intl"),
    Row("3 international plan, no credit licence", "pool alone", FR, "intl0"),
    Row("4 outside the 196", "credits", SATELLITE, "intl"),
    Row("5 pay as you go at home", "credits", US, "payg"),
    Row("5 pay as you go abroad", "credits", GB, "payg"),
    Row("6 conference to Zone A", "pool, then credits", FR, "org", "conference"),
    Row("6 conference to Zone A, no credit licence", "pool alone", FR, "org0", "conference"),
    Row("7 conference elsewhere", "credits", ZW, "zimbabwe", "conference"),
    Row("8 call me at a mobile", "pool, then credits", GB_MOBILE, "org", "conference"),
    Row("8 call me at, not in Zone A", "credits", ZW, "org", "conference"),
    Row("9 conference to the US with its add-on", "nobody", US, "unlimited", "conference"),
    Row("10 toll-free to a conference", "credits", TOLL_FREE_BRIDGE, trunk="carrier"),
    Row("10 toll-free to a call queue", "credits", TOLL_FREE_QUEUE, trunk="carrier"),
    Row("11 toll to a conference", "nobody", BRIDGE, trunk="carrier"),
    Row("11 toll to a pay-per-minute conference", "credits", OWN_BRIDGE, trunk="carrier"),
    Row("12 to a user", "nobody", DOMS, trunk="carrier"),
    Row("12 toll to an auto attendant", "nobody", ATTENDANT, trunk="carrier"),
    Row("13 to an unassigned number", "credits", NOBODYS, trunk="carrier"),
    Row("14 shared cost", "credits", GB_SHARED, "british"),
    Row("15 forward", "credits", GB, "dom", "forward", "+61212345678"),
    Row("15 transfer", "pool, then credits", US, "dom", "transfer", "+61212345678"),
    Row("16 transfer of an attendant with a plan", "pool, then credits", US, "", "auto_attendant", ATTENDANT),
    Row("16 transfer of a queue without a plan", "credits", US, "", "call_queue", QUEUE),
    Row("17 emergency", "nobody", "911", "closed"),
    Row("18 on-net", "nobody", DOMS, "closed"),
    Row("19 to a toll-free number", "pool, then credits", US_TOLL_FREE, "dom"),
]

PEOPLE: dict[str, tuple[str, ...]] = {
    "dom": ("MCOPSTN1", CC),
    "dom0": ("MCOPSTN1",),
    "intl": ("MCOPSTN2", CC),
    "intl0": ("MCOPSTN2",),
    "payg": ("PAYG-1", CC),
    "org": ("MCOMEETADD", CC),
    "org0": ("MCOMEETADD",),
    "zimbabwe": ("MCOMEETADD", CC),
    "unlimited": ("MCOMEETADD", "MCOMEETADD_DIALOUT_US"),
    "minute": ("MCOMEETACPEA",),
    "british": ("MCOPSTN1", CC),
    "closed": (),
}
WHERE = {"zimbabwe": "ZW", "british": "GB"}


def contoso() -> dict[str, Any]:
    people = [{"id": id_, "licences": list(has), "usage_location": WHERE.get(id_, "US")} for id_, has in PEOPLE.items()]
    people[0]["number"] = DOMS
    people[-1]["dial_out_policy"] = "DialoutCPCandPSTNDisabled"
    service: list[dict[str, Any]] = [
        {"number": BRIDGE, "kind": "toll", "serves": "conference"},
        {"number": TOLL_FREE_BRIDGE, "kind": "toll_free", "serves": "conference"},
        {"number": OWN_BRIDGE, "kind": "toll", "serves": "conference", "organiser": "minute"},
        {"number": ATTENDANT, "kind": "toll", "serves": "auto_attendant", "licences": ["MCOPSTN5"]},
        {"number": QUEUE, "kind": "toll", "serves": "call_queue"},
        {"number": TOLL_FREE_QUEUE, "kind": "toll_free", "serves": "call_queue"},
    ]
    numbers = [each | {"deliver_to": "pbx"} for each in service]
    rule = {"pattern": r"^\+1425555015\d$", "target": "pbx"}
    limits = {"open_high_risk": ["+881"]}
    return {
        "id": "contoso",
        "country": "US",
        "limits": limits,
        "user": people,
        "service_number": numbers,
        "unassigned": [rule],
    }


@pytest.fixture
async def gate(tmp_path: Path, server: Any) -> AsyncIterator[Gate]:
    async for opened in open_gate(tmp_path, server.url, sqlalchemy_url("embedded", tmp_path)):
        await opened.open(contoso())
        yield opened


def live(call: Leg | str) -> Leg:
    assert isinstance(call, Leg), call
    return call


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_row_at_zero_balance_and_in_mid_call(gate: Gate, row: Row) -> None:
    columns = PAYERS[row.payer]
    verdict = gate.decide(row.dialled, **row.call)
    assert isinstance(verdict, Allow), verdict
    assert verdict.payer == {"credits": "credits", "nobody": "none"}.get(row.payer, "pool")
    first = await gate.call(row.dialled, **row.call)
    if columns.at_zero:
        assert first == columns.at_zero
    else:
        await gate.end(live(first))
    totals = [pool.total_minutes for pool in verdict.pools]
    if totals:
        await gate.use_up(totals[0] - 1, row.dialled, **row.call)
    two_minutes = price_micros(verdict.tariff, 120) if verdict.tariff else 1
    await gate.fund(two_minutes)
    leg = live(await gate.talk(row.dialled, HOUR_S, **row.call))
    spent = two_minutes if "credits" in row.payer else 0
    assert (leg.ended, leg.talk_ms, leg.charge_micros) == (columns.cut, columns.minutes * 60_000, spent)
    after = await gate.call(row.dialled, **row.call)
    if columns.without_minutes:
        assert after == columns.without_minutes
    else:
        await gate.end(live(after))
    await gate.book()
    record = await gate.record(leg)
    assert (record.charge_micros, record.pool_minutes) == (spent, 1 if totals else 0)
    assert await gate.used() == ({verdict.pools[0].name: totals[0]} if totals else {})
    assert (await gate.balance(), await gate.clean()) == (two_minutes - spent, True)


@pytest.mark.parametrize(
    ("stays", "falls"),
    [
        ({"dialled": BRIDGE, "trunk": "carrier"}, {"dialled": ZW, "who": "zimbabwe", "kind": "conference"}),
        ({"dialled": DOMS, "trunk": "carrier"}, {"dialled": GB, "who": "dom", "kind": "forward"}),
        ({"dialled": ATTENDANT, "trunk": "carrier"}, {"dialled": FR, "kind": "auto_attendant", "caller": ATTENDANT}),
    ],
    ids=["7 the conference goes on", "15 the inbound leg goes on", "16 the caller stays"],
)
async def test_rows_7_15_and_16_only_the_leg_that_is_paid_falls(
    gate: Gate, stays: dict[str, str], falls: dict[str, str]
) -> None:
    await gate.fund(1_000_000)
    inbound = live(await gate.call(**stays))
    outbound = live(await gate.call(**falls))
    await gate.wait(HOUR_S)
    assert outbound.ended == "NO_CREDIT"
    assert await gate.call(**falls) == "NO_CREDIT"
    assert not inbound.ended
    await gate.end(inbound)
    assert (inbound.talk_ms, inbound.charge_micros) == (HOUR_S * 1000, 0)


@pytest.mark.parametrize("dialled", ["+449091234567", "+19002345678"])
async def test_row_14_what_the_usage_country_closes_no_money_opens(gate: Gate, dialled: str) -> None:
    await gate.fund(1_000_000)
    assert [await gate.call(dialled, who) for who in ("dom", "british")] == ["NUMBER_CLASS"] * 2


async def test_row_9_is_taken_from_no_pool_and_no_balance(gate: Gate) -> None:
    await gate.fund(1_000_000)
    live(await gate.talk(CA, HOUR_S, "unlimited", "conference"))
    await gate.book()
    assert (await gate.used(), await gate.balance()) == ({}, 1_000_000)
