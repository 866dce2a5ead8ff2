"""The number plan (signatures; being filled in)."""

from collections.abc import Iterable


class NumberPlan:
    """What is known of the world's numbers: classes, valid lengths, countries' prefixes, emergency numbers."""


def load_number_plan(
    numbers: Iterable[str], countries: Iterable[str], emergency: Iterable[str]
) -> NumberPlan:
    """Build the plan from the text lines of policy/data's three tables."""
    raise NotImplementedError
