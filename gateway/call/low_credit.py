"""The last talk that a tenant's money pays for: said of a live call, so that its tenant can be told before it ends.

It travels as a call record that is no call's, beside those of refused calls: its ``call_id`` has LOW behind it, its
``reason`` is LOW_CREDIT, and ``ended_ms`` is when talk ends unless money is added.  It may be lost, as those may be.
"""

from typing import Final

from gateway.call.record import CallRecord
from gateway.call.views import CallView

LOW: Final = ":low"
"""Behind the call's id: a record that is taken for a call's after all must not take the id of its charge."""

LOW_CREDIT: Final = "LOW_CREDIT"


def low_credit_record(call: CallView) -> CallRecord:
    """The record of an answered call whose money ends."""
    return CallRecord(
        call.id + LOW,
        call.tenant,
        call.kind,
        node=call.node,
        trunk=call.trunk,
        user_id=call.user,
        caller=call.caller,
        number=call.number,
        invited_ms=call.answered_ms,
        ended_ms=call.paid_until_ms,
        reason=LOW_CREDIT,
    )
