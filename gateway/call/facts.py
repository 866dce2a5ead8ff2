"""What telemetry wants to know of calls, as plain values: the loud room drains them once a turn and counts.

A fact is said once: ``Placed`` at the first INVITE to the called side, ``Ticked`` for each answer of the store to a
request for a tick, ``Cut`` for each call whose paid time ran out (on the called leg, SIP.md 4), ``Moved`` for each peer
of another gate's call that was asked to follow to this one, ``Finished`` for each call that was refused or is over,
which is also what ``calls_total`` counts.
"""

from typing import NamedTuple


class Placed(NamedTuple):
    """The called side was invited ``setup_s`` seconds after the caller's INVITE arrived."""

    setup_s: float


class Ticked(NamedTuple):
    """The store's answer to a request for a tick: ``granted``, ``refused`` or ``away``."""

    result: str


class Cut(NamedTuple):
    """The called side's BYE left ``error_s`` seconds after paid-until (negative: early)."""

    error_s: float


class Moved(NamedTuple):
    """A peer follows to this gate (``moved``), ``refused`` to with ``status``, or could not be asked (``impossible``).

    ``side`` is ``caller`` or ``called``.
    """

    result: str
    call_id: str
    side: str
    status: int


class Finished(NamedTuple):
    """A call ended or was refused.

    ``outcome`` is ``answered`` (ended by a party), ``cut`` (answered, ended by the gate), ``cancelled``, ``failed``
    (the far end did not take it), ``refused`` (by the gate) or ``fenced`` (it goes on with another worker).
    ``reason`` is a code of policy.reasons, ``kind`` the call type of the usage report, empty where policy could not
    tell, and ``trunk`` the trunk the call came in by.
    """

    outcome: str
    reason: str
    kind: str
    trunk: str


Fact = Placed | Ticked | Cut | Moved | Finished
