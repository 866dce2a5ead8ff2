"""Hears when a live call's money ends, and passes it on by the stream of refused calls, where it may be lost.

It ends with a tick that was trimmed, or when the next one is refused for want of credit.  A refused tick is asked for
again; that it is said again then costs one entry of a stream, and whoever tells the tenant knows the call.
"""

from collections.abc import Callable
from typing import Final

from gateway.call.commands import Command, Grant, Refusal, Refused, Result
from gateway.call.low_credit import low_credit_record
from gateway.call.views import CallView

SHARE: Final = "/low credit"
"""Counted as a trunk of its own, so that a flood of refused calls leaves it room, and the other way round."""


class LowCredit:
    """Listens to what the store answers."""

    __slots__ = ("_submit", "_view")

    def __init__(self, view: Callable[[str], CallView | None], submit: Callable[[Command], None]) -> None:
        """``view`` shows a live call now, None where it is over."""
        self._view = view
        self._submit = submit

    def hear(self, result: Result) -> None:
        """One answer of the store, after the call has heard it."""
        ends = result.final if type(result) is Grant else type(result) is Refusal and result.code == "NO_CREDIT"
        if ends:
            self._tell(result.call_id)

    def _tell(self, call_id: str) -> None:
        """Before the answer nobody talks, and when paid time ends is not known."""
        call = self._view(call_id)
        if call is not None and call.paid_until_ms:
            self._submit(Refused(call_id, call.tenant, SHARE, low_credit_record(call).encode()))
