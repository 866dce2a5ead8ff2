"""Numbers of the other side are hidden by the tenant's country, and the tenant's own never are."""

from pathlib import Path

import pytest

from gateway.call.record import CallRecord
from gateway.config.provisioning import parse
from gateway.ledger import Ledger
from gateway.settlement import masking_of, usage_columns, usage_row
from gateway.settlement.masking import Masking, digits_masked, hidden

OWN, OTHER = "+4930123456", "+33144556677"
GERMAN = Masking(3, {OWN})
NAMES = ("Caller ID", "Destination Number", "Number Dialed")


def shown(kind: str, caller: str, number: str, destination: str = "") -> tuple[str, ...]:
    record = CallRecord("c", "t", kind, caller=caller, number=number, dialled=number, destination=destination)
    row = dict(zip([column.name for column in usage_columns()], usage_row(record, GERMAN), strict=True))
    return tuple(str(row[name]) for name in NAMES)


def test_the_countries_and_their_digits() -> None:
    three, four = ("BE", "DE", "DK", "ES", "FI", "IT", "NL", "NO", "SE"), ("CH", "FR")
    assert [digits_masked(country) for country in three] == [3] * 9
    assert [digits_masked(country) for country in four] == [4] * 2
    assert digits_masked("US") == digits_masked("GB") == digits_masked("") == 0


@pytest.mark.parametrize(
    ("number", "digits", "seen"),
    [
        ("+33144556677", 0, "+33144556677"),
        ("+33144556677", 3, "+33144556***"),
        ("+33144556677", 4, "+3314455****"),
        ("0033 1-44 55", 3, "0033 1-4* **"),
        ("12", 3, "**"),
        ("anonymous", 3, "anonymous"),
        ("", 3, ""),
    ],
)
def test_the_last_digits_are_hidden(number: str, digits: int, seen: str) -> None:
    assert hidden(number, digits) == seen


@pytest.mark.parametrize("kind", ["user_out", "user_out_conf", "conf_out", "user_out_forwarding", "ucap_out"])
def test_who_was_called(kind: str) -> None:
    assert shown(kind, OWN, OTHER) == (OWN, "+33144556***", "+33144556***")


@pytest.mark.parametrize("kind", ["user_in", "conf_in", "ucap_in", "unassigned_in"])
def test_who_called_in(kind: str) -> None:
    assert shown(kind, OTHER, OWN) == ("+33144556***", OWN, OWN)


@pytest.mark.parametrize("kind", ["user_out_forwarding", "user_out_transfer", "user_out_conf", "ucap_out"])
def test_who_was_passed_on(kind: str) -> None:
    assert shown(kind, OTHER, OTHER)[0] == "+33144556***"


def test_a_caller_of_the_tenants_own_trunk_is_its_own_whatever_number_it_shows() -> None:
    assert shown("user_out", "+4930999999", OTHER)[0] == "+4930999999"


def test_calls_inside_the_tenant_and_to_the_emergency_services_have_nothing_to_hide() -> None:
    assert shown("on_net", OWN, OWN) == (OWN, OWN, OWN)
    assert shown("user_out", OWN, "112", "emergency") == (OWN, "112", "112")


async def test_a_tenants_own_numbers_are_its_users_and_its_services(ledger: Ledger) -> None:
    user = {"id": "a@x", "number": "+4930123456"}
    service = {"number": "+498001234567", "kind": "toll_free", "serves": "conference", "deliver_to": "pbx"}
    german = {"id": "x", "country": "DE", "rate_deck": "standard", "user": [user], "service_number": [service]}
    await ledger.provision(parse({"tenant": [german]}, "test.toml", Path()))
    assert await masking_of(ledger, "x") == Masking(3, {"+4930123456", "+498001234567"})
    assert (await masking_of(ledger, "contoso")).digits == 0
