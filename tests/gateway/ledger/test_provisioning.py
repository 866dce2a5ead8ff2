"""Provisioning and the directory: declarative, idempotent, all or nothing."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config.provisioning import Provisioning, parse
from gateway.ledger import Ledger, LedgerRefused, ProvisioningRefused, UnknownTenant, decks, provisioning
from gateway.ledger.schema import raise_directory_version
from policy.directory import CountedLimits, DialRule, Night, ServiceNumber, Tenant, TenantLimits, Trunk, User
from policy.funds import Purchased
from policy.unassigned import UnassignedRule
from rating.tariff import Tariff

from .conftest import Clock

Document = Callable[..., Provisioning]

ALICE = {"id": "alice@contoso.com", "number": "+14255550100", "licences": ["MCOPSTN1", "MCOPSTNPP"]}
CONTOSO: dict[str, Any] = {
    "id": "contoso",
    "name": "Contoso Ltd",
    "country": "GB",
    "mode": "postpaid",
    "credit_limit": "500.00",
    "licensing": "per-user",
    "dial_out_policy": "DialoutCPCandPSTNDomestic",
    "failure_policy": "continue",
    "minimum_funding": "50",
    "time_zone": "Europe/London",
    "limits": {
        "max_calls": 50,
        "spend_per_day": "200.00",
        "blocked_prefixes": ["+882", "+979"],
        "open_high_risk": ["+881"],
        "night": {"begins": "22:00", "ends": "06:00", "blocked_prefixes": ["+7"]},
    },
    "class_limits": [{"number_class": "premium", "spend_per_hour": "2.00"}],
    "recharge": {"trigger": "50", "amount": "200"},
    "notify": ["mailto://billing@example.org"],
    "dial_plan": [{"pattern": r"^(\d{4})$", "translation": "+1425555$1"}],
    "purchased": [{"sku": "MCOPSTN1", "usage_country": "GB", "count": 7}],
    "unassigned": [{"pattern": r"^\+1425555\d+$", "target": "pbx"}],
    "user": [ALICE],
    "service_number": [
        {
            "number": "+18005550199",
            "kind": "toll_free",
            "serves": "conference",
            "deliver_to": "pbx",
            "licences": ["MCOEV"],
            "organiser": "alice@contoso.com",
        }
    ],
}


def said(changes: list[Any]) -> list[str]:
    return [str(change) for change in changes]


async def test_the_directory_says_what_the_document_says(empty_ledger: Ledger, document: Document) -> None:
    await empty_ledger.provision(document(CONTOSO))
    trunk = Trunk("pbx", "access", tenant="contoso")
    directory = await empty_ledger.directory({"pbx": trunk})
    alice = User("alice@contoso.com", "contoso", number="+14255550100", licences=("MCOPSTN1", "MCOPSTNPP"))
    assert directory.version == 1
    assert directory.trunks == {"pbx": trunk}
    assert directory.tenants["contoso"] == Tenant(
        "contoso",
        name="Contoso Ltd",
        country="GB",
        mode="postpaid",
        credit_limit_micros=500_000_000,
        rate_deck="standard",
        licensing="per-user",
        dial_out_policy="DialoutCPCandPSTNDomestic",
        failure_policy="continue",
        time_zone="Europe/London",
        limits=TenantLimits(
            max_calls=50,
            spend_per_day_micros=200_000_000,
            blocked_prefixes=("+882", "+979"),
            open_high_risk=("+881",),
            night=Night(1320, 360, None, ("+7",)),
            classes=(("premium", CountedLimits(spend_per_hour_micros=2_000_000)),),
        ),
        dial_plan=(DialRule(r"^(\d{4})$", "+1425555$1"),),
        purchased=(Purchased("MCOPSTN1", "GB", 7),),
        unassigned=(UnassignedRule(r"^\+1425555\d+$", "pbx"),),
    )
    assert {pool.name: pool.total_minutes for pool in directory.pools_of("contoso")} == {"MCOPSTN1/GB": 8_400}
    assert directory.users == {("contoso", alice.id): alice}
    assert directory.users_by_number == {alice.number: alice}
    assert directory.service_numbers == {
        "+18005550199": ServiceNumber("+18005550199", "contoso", "toll_free", "conference", "pbx", ("MCOEV",), alice.id)
    }
    row = directory.decks["standard"].lookup("442079460000", "out", 0)
    assert row is not None
    assert row.tariff == Tariff(20_000)


async def test_one_tenants_part_of_the_directory_needs_no_deck(ledger: Ledger, document: Document) -> None:
    await ledger.provision(document(CONTOSO))
    whole = await ledger.directory({})
    assert await ledger.tenants() == list(whole.tenants.values())
    assert await ledger.tenant("contoso") == whole.tenants["contoso"]
    assert await ledger.users("contoso") == list(whole.users.values())
    assert await ledger.service_numbers("contoso") == list(whole.service_numbers.values())
    assert (await ledger.users("fabrikam"), await ledger.service_numbers("fabrikam")) == ([], [])
    with pytest.raises(UnknownTenant):
        await ledger.tenant("nobody")


async def test_the_second_time_nothing_changes(empty_ledger: Ledger, document: Document) -> None:
    first = await empty_ledger.provision(document(CONTOSO))
    assert said(first) == [
        "added rate deck standard",
        "added tenant contoso",
        "added user alice@contoso.com of contoso",
        "added service number +18005550199 of contoso",
    ]
    assert await empty_ledger.provision(document(CONTOSO)) == []
    assert await empty_ledger.directory_version() == 1


async def test_what_differs_is_named(empty_ledger: Ledger, document: Document) -> None:
    await empty_ledger.provision(document(CONTOSO))
    bob = {"id": "bob@contoso.com", "number": "+14255550101"}
    new = CONTOSO | {"name": "Contoso", "user": [ALICE | {"blocked": True}, bob], "service_number": []}
    assert said(await empty_ledger.provision(document(new))) == [
        "changed tenant contoso: name",
        "changed user alice@contoso.com of contoso: blocked",
        "added user bob@contoso.com of contoso",
        "removed service number +18005550199 of contoso",
    ]
    directory = await empty_ledger.directory({})
    assert directory.version == 2
    assert directory.users["contoso", "alice@contoso.com"].blocked
    assert directory.service_numbers == {}


async def test_a_dry_run_says_it_and_does_nothing(empty_ledger: Ledger, document: Document) -> None:
    assert len(await empty_ledger.provision(document(CONTOSO), dry_run=True)) == 4
    assert await empty_ledger.directory_version() == 0
    directory = await empty_ledger.directory({})
    assert (directory.tenants, directory.users, directory.decks) == ({}, {}, {})
    assert len(await empty_ledger.provision(document(CONTOSO))) == 4


async def test_tenants_that_a_document_does_not_name_stay(ledger: Ledger, document: Document) -> None:
    await ledger.provision(document({"id": "northwind", "user": [ALICE]}))
    assert set((await ledger.directory({})).tenants) == {"contoso", "fabrikam", "northwind"}


async def test_a_tenant_has_its_accounts_at_once(ledger: Ledger) -> None:
    assert await ledger.balance("contoso") == 0
    assert [account.tenant_id for account in await ledger.accounts()] == ["contoso", "fabrikam"]


async def test_numbers_may_move_within_a_document(ledger: Ledger, document: Document) -> None:
    one, two = {"id": "a", "number": "+14255550100"}, {"id": "b", "number": "+14255550101"}
    await ledger.provision(document({"id": "contoso", "user": [one, two]}, {"id": "fabrikam"}))
    swapped = [one | {"number": "+14255550101"}, two | {"number": "+14255550100"}]
    await ledger.provision(document({"id": "contoso", "user": swapped}, {"id": "fabrikam"}))
    assert (await ledger.directory({})).users_by_number["+14255550100"].id == "b"
    await ledger.provision(document({"id": "contoso"}, {"id": "fabrikam", "user": [one]}))
    assert (await ledger.directory({})).users_by_number["+14255550100"].tenant_id == "fabrikam"


async def refused(ledger: Ledger, document: Provisioning, why: str) -> None:
    before = await ledger.directory_version()
    with pytest.raises(ProvisioningRefused, match=why):
        await ledger.provision(document)
    assert await ledger.directory_version() == before


async def test_a_number_has_one_owner(ledger: Ledger, document: Document) -> None:
    service = {"number": "+14255550100", "kind": "toll", "serves": "conference", "deliver_to": "pbx"}
    await ledger.provision(document({"id": "contoso", "user": [ALICE]}))
    await refused(ledger, document({"id": "fabrikam", "user": [ALICE]}), "belongs to tenant 'contoso'")
    await refused(ledger, document({"id": "fabrikam", "service_number": [service]}), "belongs to tenant 'contoso'")
    await ledger.provision(document({"id": "contoso", "service_number": [service]}))
    await refused(ledger, document({"id": "fabrikam", "user": [ALICE]}), "belongs to tenant 'contoso'")


async def test_a_number_taken_at_the_same_moment(
    ledger: Ledger, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_early(*_: object) -> None:
        """The check, made before the other tenant got the number."""

    await ledger.provision(document({"id": "contoso", "user": [ALICE]}))
    monkeypatch.setattr(provisioning, "_check_numbers", too_early)
    await refused(ledger, document({"id": "fabrikam", "user": [ALICE]}), "somebody changed it meanwhile")


async def test_a_deck_in_another_currency_is_refused(ledger: Ledger, document: Document) -> None:
    euros = {"id": "northwind", "currency": "EUR"}
    await refused(ledger, document(euros, currency="EUR"), "but its tenant 'contoso' is in USD")
    only_tenant = parse({"tenant": [euros | {"rate_deck": "standard"}]}, "test.toml", Path())
    await refused(ledger, only_tenant, "is in EUR, but its rate deck 'standard' is in USD")


async def test_a_deck_that_an_earlier_release_took_goes_on(ledger: Ledger, clock: Clock) -> None:
    rows = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,,7,0,60,60\n"
    with pytest.raises(LedgerRefused, match="column destination: empty"):
        await ledger.load_deck("standard", rows)
    file = decks.DeckFile("standard", rows, "USD")
    deck = decks.read_deck(file, is_new=False)

    async def store(connection: AsyncConnection) -> None:
        await decks.insert_version(connection, file, gzip.compress(rows), deck, clock.ms, clock.ms)
        await raise_directory_version(connection)

    await ledger.database.transact(store)
    row = (await ledger.directory({})).decks["standard"].lookup("442079460000", "out", 0)
    assert row is not None
    assert row.tariff == Tariff(7)


async def test_a_deck_that_is_not_there_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    document = parse({"tenant": [{"id": "x", "rate_deck": "gold"}]}, "test.toml", tmp_path)
    await refused(ledger, document, "rate deck 'gold', which is not there")


async def test_the_currency_of_money_stays(ledger: Ledger, document: Document) -> None:
    await ledger.fund("contoso", 5, "r")
    both = [{"id": tenant, "currency": "EUR"} for tenant in ("contoso", "fabrikam")]
    await refused(ledger, document(*both, currency="EUR"), "has money in USD")


async def test_one_bad_deck_row_refuses_the_whole_document(ledger: Ledger, document: Document) -> None:
    bad = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,-1,0,60,60\n"
    await refused(ledger, document({"id": "northwind"}, deck=bad), "deck.csv is refused: row 2, column rate_micros_per")
    directory = await ledger.directory({})
    assert "northwind" not in directory.tenants
    row = directory.decks["standard"].lookup("442079460000", "out", 0)
    assert row is not None, "the deck in use stays"


async def test_a_deck_may_be_gzipped(ledger: Ledger, document: Document) -> None:
    rows = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n33,France,9000,0,60,60\n"
    assert said(await ledger.load_deck("standard", gzip.compress(rows), currency="USD")) == [
        "changed rate deck standard"
    ]
    assert await ledger.load_deck("standard", rows, currency="USD") == [], "packed or not, it is the same deck"
    deck = (await ledger.directory({})).decks["standard"]
    assert deck.lookup("331", "out", 0) is not None
    with pytest.raises(ProvisioningRefused, match="not a whole gzip file"):
        await ledger.load_deck("standard", gzip.compress(rows)[:-9])


async def test_a_broken_gzip_file_is_told_with_the_line_it_breaks_off_in(ledger: Ledger) -> None:
    dice = Random(1)
    lines = b"".join(b"33%d,Place %d,9000,0,60,60\n" % (n, dice.getrandbits(64)) for n in range(20_000))
    packed = gzip.compress(lines)
    for at in (len(packed) // 2, len(packed) * 3 // 4, len(packed) - 9):
        whole = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed[:at]).count(b"\n")
        with pytest.raises(ProvisioningRefused, match=f"breaks off in line {whole + 1} .*send it again"):
            await ledger.load_deck("standard", packed[:at], currency="USD")
    damaged = packed[: len(packed) // 2] + b"\xff" * 64 + packed[len(packed) // 2 + 64 :]
    with pytest.raises(ProvisioningRefused, match=r"is not a whole gzip file: it breaks off in line \d+ "):
        await ledger.load_deck("standard", damaged, currency="USD")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_a_deck_that_is_not_utf8_is_refused_with_its_row(ledger: Ledger, pack: Callable[[bytes], bytes]) -> None:
    rows = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n"
    rows += b"".join(b"44%d,Place,9000,0,60,60\n" % number for number in range(5_000))
    with pytest.raises(
        ProvisioningRefused, match=r"row 5002, column destination: not UTF-8 \(byte 0xe9\).*in use stays"
    ):
        await ledger.load_deck("standard", pack(rows + b"33,Orl\xe9ans,9000,0,60,60\n"), currency="USD")


async def test_a_deck_loaded_for_later_comes_into_use_at_its_moment(ledger: Ledger, clock: Any) -> None:
    rows = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n33,France,9000,0,60,60\n"
    later = clock.ms + 5_000
    for _ in range(2):
        await ledger.load_deck("standard", rows, currency="USD", effective_from_ms=later)
    assert [(deck.version, deck.in_use) for deck in await ledger.decks()] == [(2, False), (1, True)]
    before = await ledger.directory_version()
    assert await ledger.announce_due_decks() == before
    clock.ms = later
    assert await ledger.announce_due_decks() == before + 1
    assert await ledger.announce_due_decks() == await ledger.directory_version() == before + 1
    assert (await ledger.directory({})).decks["standard"].lookup("33", "out", 0) is not None


async def test_the_directory_has_the_next_deck_before_its_moment(ledger: Ledger, clock: Any) -> None:
    """A call that goes on beyond that moment is priced by both, so workers are told when it is loaded."""
    head = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n"
    known, begun = await ledger.directory_version(), clock.ms
    for place, after_ms in enumerate((90_000, 50_000, 50_000)):
        rows = head + b"33,France,%d,0,60,60\n" % place
        await ledger.load_deck("standard", rows, currency="USD", effective_from_ms=begun + after_ms)
    await ledger.load_deck("new", head + b"33,France,9,0,60,60\n", currency="USD", effective_from_ms=begun + 1_000)
    assert await ledger.directory_version() == known + 4
    directory = await ledger.directory({})
    assert set(directory.decks) == {"standard"}, "a deck that has never been in use prices nothing"
    ((name, (coming,)),) = directory.coming.items()
    found = coming.deck.lookup("33", "out", 0)
    assert found is not None
    assert (name, coming.from_unix_ms, found.tariff.rate_micros_per_min) == ("standard", begun + 50_000, 2)
    clock.ms = begun + 50_000
    directory = await ledger.directory({})
    assert directory.decks["standard"] is coming.deck
    assert [each.from_unix_ms for each in directory.coming["standard"]] == [begun + 90_000]
    clock.ms = begun + 90_000
    assert (await ledger.directory({})).coming == {}


async def test_a_loaded_deck_keeps_its_tenants_currency(ledger: Ledger) -> None:
    rows = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n33,France,9000,0,60,60\n"
    with pytest.raises(LedgerRefused, match="is in EUR, but its tenant"):
        await ledger.load_deck("standard", rows, currency="EUR")


async def test_an_unchanged_deck_is_read_once(
    ledger: Ledger, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ledger.directory({})
    await ledger.provision(document({"id": "northwind"}))
    second = await ledger.directory({})
    assert second.version > first.version
    assert second.decks["standard"] is first.decks["standard"]


async def test_an_external_access_prefix_stands_before_the_rules(ledger: Ledger, document: Document) -> None:
    rule, own = {"pattern": "^1$", "translation": "+44201"}, {"pattern": "^2$", "translation": "+44202"}
    people = [{"id": "plain"}, {"id": "prefix", "external_prefix": "0"}, {"id": "plan", "dial_plan": [own]}]
    contoso = {"external_prefix": "9", "dial_plan": [rule], "user": people, "conference_overage": "calling_plan"}
    await ledger.provision(document({"id": "contoso"} | contoso))
    directory = await ledger.directory({})
    nine, nought = DialRule("9", "", external=True), DialRule("0", "", external=True)
    assert directory.tenants["contoso"].dial_plan == (nine, DialRule("^1$", "+44201"))
    assert directory.tenants["contoso"].conference_overage == "calling_plan"
    assert directory.tenants["fabrikam"].conference_overage == "credits"
    plans = {user.id: user.dial_plan for user in directory.users.values()}
    assert plans["plain"] == ()
    assert plans["prefix"] == (nought, DialRule("^1$", "+44201"))
    assert plans["plan"] == (nine, DialRule("^2$", "+44202"))
