"""The minute-pools report: the six columns of the source, Zone A by its own name, and pools that no licence makes."""

from gateway.settlement.reports import pools_report
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
