"""Measures what a decision costs: ``python tests/policy/measure.py``.

A directory of 100,000 users in 100 tenants with seven sets of licences, decks of 60,000 prefixes, calls of many kinds;
prints how long the directory takes to make, and the median and the 99th percentile of a decision in microseconds, with
and without explanation.  It is no test: a time depends on the machine.
"""

import random
import statistics
import time
from dataclasses import replace

from gateway.config.facts import number_plan, policy_facts
from policy.decide import decide
from policy.directory import DialRule, Directory, Tenant, TenantLimits, Trunk, User
from policy.verdict import CallRequest
from rating.deck import Deck, RateRow
from rating.tariff import Tariff

TENANTS, USERS, CALLS = 100, 100_000, 20_000
AT_MS = 1_767_600_000_000
LICENCES = (
    ("MCOPSTNPP",),
    ("MCOPSTN1", "MCOPSTNPP"),
    ("MCOPSTN2", "MCOPSTNPP", "MCOMEETADD"),
    ("MCOPSTN5", "MCOPSTN6", "MCOPSTNPP"),
    ("MCOPSTN8", "MCOPSTNPP"),
    ("PAYG-1", "MCOPSTNPP"),
    ("MCOMEETADD", "MCOMEETADD_DIALOUT_US", "MCOPSTNC"),
)
CODES = ("1", "44", "49", "33", "91", "86", "263")


def world() -> Directory:
    rows = [
        RateRow(f"{code}{place}" if place else code, f"to {code}", "", "", "", Tariff(10_000 + place % 500))
        for code in CODES
        for place in [0, *range(1_000, 9_500)]
    ]
    plan = (DialRule(r"^(\d{4})$", "+1425555$1"), DialRule(r"^9(\d{7,})$", "$1"))
    tenants = {
        f"t{place}": Tenant(
            f"t{place}",
            rate_deck="standard",
            licensing="per-user",
            dial_plan=plan,
            dial_out_policy="DialoutCPCZoneAPSTNInternational",
            limits=TenantLimits(50, 10, max_rate_micros_per_min=10**6, blocked_prefixes=("+882", "+979")),
        )
        for place in range(TENANTS)
    }
    users = [
        User(
            f"u{place}",
            f"t{place % TENANTS}",
            f"+1425{place:07d}",
            usage_location="US",
            licences=LICENCES[place % len(LICENCES)],
        )
        for place in range(USERS)
    ]
    trunks = [
        Trunk("shared", "access", tenant_from="caller", targets=("sip:127.0.0.2:5060",)),
        Trunk("uk", "carrier", targets=("sip:127.0.0.4:5060",), prefixes=("+44",)),
        Trunk("carrier", "carrier", targets=("sip:127.0.0.3:5060", "sip:127.0.0.3:5061"), emergency=True),
    ]
    return Directory(
        trunks={trunk.name: trunk for trunk in trunks},
        tenants=tenants,
        users={(user.tenant_id, user.id): user for user in users},
        users_by_number={user.number: user for user in users},
        decks={"standard": Deck("standard", "USD", rows)},
        facts=policy_facts(),
    )


def calls() -> list[CallRequest]:
    dice = random.Random(1)
    called = ["+442079461234", "011493012345678", "14155551234", "+919812345678", "911", "5551", "+33123456789"]
    kinds = ("", "", "", "conference")
    return [
        CallRequest(
            "shared", dice.choice(called), f"+1425{dice.randrange(USERS):07d}", AT_MS, x_kind=dice.choice(kinds)
        )
        for _ in range(CALLS)
    ]


def main() -> None:
    directory, plan, requests = world(), number_plan(), calls()
    start_s = time.perf_counter()
    replace(directory)
    print(f"directory of {USERS:,} users made in {(time.perf_counter() - start_s) * 1e3:.0f} ms")
    for explain in (False, True):
        times_us = []
        for request in requests:
            start_s = time.perf_counter()
            decide(directory, plan, request, explain)
            times_us.append((time.perf_counter() - start_s) * 1e6)
        quantiles = statistics.quantiles(times_us, n=100)
        told = "explained" if explain else "decided"
        print(f"{told}: median {quantiles[49]:.1f} us, p99 {quantiles[98]:.1f} us")


if __name__ == "__main__":
    main()
