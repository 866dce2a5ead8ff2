"""The facts that come with the package, read from policy's data for the quiet room that uses them."""

import gzip
from functools import cache
from importlib import resources

from policy.facts import Facts, load_facts
from policy.plan import NumberPlan, load_number_plan


@cache
def number_plan() -> NumberPlan:
    """The number plan of this release; raises OSError where the package is not whole."""
    folder = resources.files("policy") / "data"
    numbers = gzip.decompress((folder / "numbers.csv.gz").read_bytes()).decode("ascii")
    countries = (folder / "countries.csv").read_text("ascii")
    emergency = (folder / "emergency.csv").read_text("ascii")
    return load_number_plan(numbers.splitlines(), countries.splitlines(), emergency.splitlines())


@cache
def policy_facts() -> Facts:
    """The facts of licensing and high-risk ranges of this release; raises OSError where the package is not whole."""
    folder = resources.files("policy") / "data"
    names = ("calling_plans", "conference_licences", "zone_a", "dial_out_policies", "premium_numbers", "high_risk")
    plans, conferences, zone_a, dial_out, premium, high_risk = [
        (folder / f"{name}.csv").read_text("ascii").splitlines() for name in names
    ]
    return load_facts(plans, conferences, zone_a, dial_out, premium, high_risk)
