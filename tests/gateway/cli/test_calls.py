"""calls and hangup, and a charge in the ledger with its call."""

import time

from .booked import book, record
from .conftest import Shell


def test_no_calls_are_an_empty_list(provisioned: Shell) -> None:
    assert provisioned("calls", "--json").document == []
    assert provisioned("calls", "--tenant", "contoso").out == "no calls\n"


def test_hanging_up_what_is_not_there_is_told(provisioned: Shell) -> None:
    assert provisioned("hangup", "nope", status=1).failed("nope", "callgate calls")


def test_a_charge_is_in_the_ledger_with_its_call(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    book(provisioned.folder, record("c1", time.time_ns() // 1_000_000))
    charge = provisioned("ledger", "--tenant", "contoso", "--json").document[-1]
    assert (charge["kind"], charge["amount"], charge["balance"]) == ("charge", "-0.610000", "4.390000")
    assert charge["call_id"] == "c1"
