"""The facts that come with the package, read from policy's data for the quiet room that uses them."""

import gzip
from importlib import resources

from policy.plan import NumberPlan, load_number_plan


def number_plan() -> NumberPlan:
    """The number plan of this release; raises OSError where the package is not whole."""
    folder = resources.files("policy") / "data"
    numbers = gzip.decompress((folder / "numbers.csv.gz").read_bytes()).decode("ascii")
    countries = (folder / "countries.csv").read_text("ascii")
    emergency = (folder / "emergency.csv").read_text("ascii")
    return load_number_plan(numbers.splitlines(), countries.splitlines(), emergency.splitlines())
