"""What another process needs to carry a call on, or to end it decently, when this one dies (SIP.md 5 a to c).

Before the answer that is: how to answer the caller's INVITE (its Via, From, To, CSeq) and how to cancel the called
side's (its branch).  From the answer on it is the two dialogs, where they are spoken, and the session timers.  It is
written with commands that go to the store anyway, as a short JSON list: positions instead of names, and put together
by hand, because it is made twice for every call and read only after a crash.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from json import loads
from json.encoder import encode_basestring as _q
from typing import TYPE_CHECKING, Any, Final

from gateway.sip.dialog import Dialog
from gateway.sip.events import Flow

if TYPE_CHECKING:
    from gateway.call.called import Attempt, CalledLeg
    from gateway.call.caller import CallerLeg
    from gateway.call.leg import Leg

UNANSWERED: Final = 1
ANSWERED: Final = 2
"""The first element of the list: what kind it is, and its version."""

_DIALOG_FIELDS: Final = (
    "call_id", "local", "local_tag", "remote", "remote_tag", "remote_target", "route_set", "local_seq", "remote_seq",
    "confirmed",
)  # fmt: skip

@dataclass(frozen=True, slots=True)
class Unanswered:
    """A call before its answer: enough for a 500 to the caller and a CANCEL to the called side.

    ``vias``, ``from_``, ``to``, ``call_id`` and ``cseq`` are the caller's INVITE as it came over ``flow``; the rest is
    the INVITE to the called side, ``local`` being its From without the tag.
    """

    vias: tuple[str, ...]
    from_: str
    to: str
    call_id: str
    cseq: str
    flow: Flow
    target_uri: str
    target_flow: Flow
    branch: str
    local: str
    local_tag: str
    sent_call_id: str
    sent_cseq: int


@dataclass(frozen=True, slots=True)
class Side:
    """One leg of an answered call: its dialog, where it is spoken, and its session timer."""

    dialog: Dialog
    flow: Flow
    session_duty: str
    session_interval_s: int
    allows_update: bool


@dataclass(frozen=True, slots=True)
class Talking:
    """An answered call; ``acked`` is False while the caller's ACK is still to come."""

    caller: Side
    called: Side
    acked: bool


def unanswered(caller: "CallerLeg", local: str, attempt: "Attempt") -> bytes:
    """What is stored with the reservation, and again when another target is tried."""
    request, target = caller.request, attempt.target
    return (
        f"[{UNANSWERED},[{_list(request.all('Via'))}],{_q(request.get('From') or '')},{_q(request.get('To') or '')}"
        f",{_q(request.call_id)},{_q(request.get('CSeq') or '')},{_flow(caller.flow)},{_q(target.uri)}"
        f",{_flow(target.flow)},{_q(attempt.branch)},{_q(local)},{_q(attempt.tag)},{_q(attempt.call_id)},{attempt.seq}]"
    ).encode("utf-8", "replace")


def talking(caller: "CallerLeg", called: "CalledLeg") -> bytes:
    """What is stored with the answer, and again when a dialog changes."""
    return f"[{ANSWERED},{_side(caller)},{_side(called)},{int(caller.acked)}]".encode("utf-8", "replace")


def decode(data: bytes) -> Unanswered | Talking:
    """Read back what was stored.  Raises ValueError where it is nothing of the kind."""
    row = loads(data)
    try:
        if row[0] == UNANSWERED:
            _, vias, from_, to, call_id, cseq, flow, uri, target, branch, local, tag, sent_id, sent_cseq = row
            return Unanswered(
                tuple(vias), from_, to, call_id, cseq, Flow(*flow), uri, Flow(*target), branch, local, tag, sent_id,
                sent_cseq,
            )  # fmt: skip
        if row[0] == ANSWERED:
            return Talking(_read_side(row[1:6]), _read_side(row[6:11]), bool(row[11]))
    except (TypeError, LookupError, ValueError) as error:
        raise ValueError(f"not an adoption record: {error}") from error
    raise ValueError(f"not an adoption record of this version: it begins with {row[0]!r}")


def _side(leg: "Leg") -> str:
    dialog = next(iter(leg.dialogs.values()))
    return (
        f"[{_q(dialog.call_id)},{_q(dialog.local)},{_q(dialog.local_tag)},{_q(dialog.remote)},{_q(dialog.remote_tag)}"
        f",{_q(dialog.remote_target)},[{_list(dialog.route_set)}],{dialog.local_seq},{dialog.remote_seq}"
        f",{int(dialog.confirmed)}],{_flow(leg.flow)},{_q(leg.session.duty.value)},{leg.session.interval_s}"
        f",{int(leg.allows_update)}"
    )


def _flow(flow: Flow) -> str:
    return f"[{_q(flow.transport)},{_q(flow.host)},{flow.port},{flow.local}]"


def _list(texts: Iterable[str]) -> str:
    return ",".join([_q(text) for text in texts])


def _read_side(row: list[Any]) -> Side:
    values, flow, duty, interval_s, allows_update = row
    state = dict(zip(_DIALOG_FIELDS, values, strict=True))
    return Side(Dialog.from_state(state), Flow(*flow), str(duty), int(interval_s), bool(allows_update))
