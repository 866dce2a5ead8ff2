"""The last step before a call is placed: where a trunk is that registers, and in which form a trunk is told the number.

Policy knows trunks and E.164 numbers.  A trunk that registers stands in its routes under a name that leads nowhere, and
is replaced here by where it is now; the number gets the form that the trunk's peer reads.  Emergency calls keep their
digits (CONTRACT 6) and never come here.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from policy.verdict import Allow, Route

PLUS = "+"


class NumberForm(NamedTuple):
    """How a trunk is told a number: ``prefix`` in front of E.164, with its ``+`` or without."""

    prefix: str = ""
    plus: bool = True

    def write(self, number: str) -> str:
        """An E.164 number as the trunk reads it; what is none (an extension, a URN) stays."""
        if not number.startswith(PLUS):
            return number
        return self.prefix + (number if self.plus else number[1:])


class Ways:
    """Lays the routes of a call.

    ``targets_of(trunk, now)`` are the targets of a trunk that registers, None for any other; ``forms`` are those of
    trunks that are told numbers in a form of their own.
    """

    def __init__(
        self, targets_of: Callable[[str, float], tuple[str, ...] | None], forms: Mapping[str, NumberForm]
    ) -> None:
        self._targets_of = targets_of
        self._forms = forms

    def lay(self, verdict: Allow, now: float) -> bool:
        """Put the call's routes right; False where all of them lead to peers that have not registered."""
        if verdict.routes:
            verdict.routes = tuple([way for route in verdict.routes for way in self._of(route, now)])
            return bool(verdict.routes)
        return True

    def _of(self, route: Route, now: float) -> list[Route]:
        form = self._forms.get(route.trunk)
        number = route.number if form is None else form.write(route.number)
        targets = self._targets_of(route.trunk, now)
        return [Route(route.trunk, target, number) for target in ((route.target,) if targets is None else targets)]
