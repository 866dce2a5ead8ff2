"""May this call go, and who pays (signatures; being filled in)."""

from policy.directory import Directory
from policy.plan import NumberPlan
from policy.verdict import CallRequest, Verdict


def decide(directory: Directory, plan: NumberPlan, request: CallRequest, explain: bool = False) -> Verdict:
    """Allow or Deny for one call; ``rules`` of the verdict are filled only when ``explain`` is asked for."""
    raise NotImplementedError
