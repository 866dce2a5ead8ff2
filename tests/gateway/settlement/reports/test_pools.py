"""The minute-pools report: the six columns of the source, Zone A by its own name, and pools that no licence makes."""

from dataclasses import replace
from pathlib import Path

from gateway.config.provisioning import parse
from gateway.ledger import CallEntry, Ledger
from gateway.settlement.reports import minute_pools, pools_report
from policy.verdict import Pool

NAMES = {"MCOPSTN2": "Domestic and International Calling Plan", "MCOMEETADD": "Audio Conferencing"}

POOLS = (
    Pool("MCOPSTN2/GB", "MCOPSTN2", "GB", 1_200, (("MCOPSTN2/GB/international", 600),)),
    Pool("MCOPSTN2/GB/international", "MCOPSTN2", "GB", 600, (("MCOPSTN2/GB", 1_200),)),
    Pool("MCOMEETADD/ZoneA", "MCOMEETADD", "", 6_900),
    Pool("MCOPSTN8/US/alice@contoso.com", "MCOPSTN8", "US", 120),
)


def test_the_columns_of_the_source_then_ours() -> None:
    names = [column.name for column in pools_report("2026-11", (), {}, {}).columns]
    assert names == [
        "Country or Region", "Capability Description", "Total Minutes", "Minutes Used", "Minutes Available",
        "Capability", "Month", "Pool",
    ]  # fmt: skip


def test_each_pool_with_what_is_left() -> None:
    used = {"MCOPSTN2/GB": 200, "MCOMEETADD/ZoneA": 6_900, "MCOPSTN8/US/alice@contoso.com": 1}
    rows = [row[:6] for row in pools_report("2026-11", POOLS, used, NAMES).rows]
    plan = "Domestic and International Calling Plan"
    assert rows == [
        ("", "Outbound Calls to Zone A Countries", 6_900, 6_900, 0, "MCOMEETADD"),
        ("GB", f"{plan} (1200 domestic minutes)", 1_200, 200, 1_000, "MCOPSTN2"),
        ("GB", f"{plan} (600 international minutes)", 600, 0, 600, "MCOPSTN2"),
        ("US", "MCOPSTN8 (120 domestic minutes)", 120, 1, 119, "MCOPSTN8"),
    ]


def test_what_was_used_of_pools_that_are_gone_or_smaller() -> None:
    used = {"MCOPSTN1/US": 40, "MCOMEETADD/ZoneA": 7_000}
    gone, smaller = (row[:5] for row in reversed(pools_report("2026-11", POOLS[2:3], used, NAMES).rows))
    assert gone == ("US", "MCOPSTN1 (0 domestic minutes)", 0, 40, 0)
    assert smaller == ("", "Outbound Calls to Zone A Countries", 6_900, 7_000, 0)


NOVEMBER_MS = 1_793_500_200_000
"""2026-11-01T02:30:00Z: still October in Seattle."""


async def test_totals_of_the_directory_and_use_of_the_ledger(ledger: Ledger) -> None:
    people = [{"id": f"u{n}@contoso.com", "usage_location": "GB", "licences": ["MCOPSTN5"]} for n in range(100)]
    people.append({"id": "o@contoso.com", "usage_location": "US", "licences": ["MCOMEETADD"]})
    tenant = {"id": "contoso", "rate_deck": "standard", "user": people, "time_zone": "America/Los_Angeles"}
    await ledger.provision(parse({"tenant": [tenant]}, "test.toml", Path()))
    entry = CallEntry("c1", "contoso", 0, b'{"kind":"user_out","invited_ms":1}')
    used = (("MCOPSTN5/GB", "2026-10", 11_998), ("MCOPSTN5/GB", "2026-11", 2))
    await ledger.book([replace(entry, minutes=used)])
    october, november = [await minute_pools(ledger, "contoso", month, NOVEMBER_MS) for month in ("", "2026-11")]
    assert [row[:7] for row in october.rows] == [
        ("", "Outbound Calls to Zone A Countries", 60, 0, 60, "MCOMEETADD", "2026-10"),
        ("GB", "Domestic Calling Plan 120 (12000 domestic minutes)", 12_000, 11_998, 2, "MCOPSTN5", "2026-10"),
    ]
    assert november.rows[1][3:5] == (2, 11_998)
