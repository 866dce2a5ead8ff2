"""What another process needs to carry a call on, or to end it decently, when this one dies (SIP.md 5 a to c).

Before the answer that is: how to answer the caller's INVITE (its Via, From, To, CSeq) and how to cancel the called
side's (its branch).  From the answer on it is the two dialogs, where they are spoken, and the session timers.  It is
written with commands that go to the store anyway, as a short JSON list: positions instead of names, and all texts of a
side in one, divided by line feeds, which no value of a SIP message can hold.  It is made twice for every call and read
only after a crash.
"""

from dataclasses import dataclass
from json import loads
from json.encoder import encode_basestring as quoted
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
    texts = "\n".join(
        (
            request.get("From") or "", request.get("To") or "", request.call_id, request.get("CSeq") or "", target.uri,
            attempt.branch, local, attempt.tag, attempt.call_id, *request.all("Via"),
        )
    )  # fmt: skip
    flows = f"{_flow(caller.flow)},{_flow(target.flow)}"
    return f"[{UNANSWERED},{quoted(texts)},{flows},{attempt.seq}]".encode("utf-8", "replace")


def talking(caller: "CallerLeg", called: "CalledLeg") -> bytes:
    """What is stored with the answer, and again when a dialog changes."""
    return f"[{ANSWERED},{_side(caller)},{_side(called)},{int(caller.acked)}]".encode("utf-8", "replace")


def decode(data: bytes) -> Unanswered | Talking:
    """Read back what was stored.  Raises ValueError where it is nothing of the kind."""
    row = loads(data)
    try:
        if row[0] == UNANSWERED:
            return _read_unanswered(row)
        if row[0] == ANSWERED:
            _, caller, called, acked = row
            return Talking(_read_side(caller), _read_side(called), bool(acked))
    except (TypeError, LookupError, ValueError, AttributeError) as error:
        raise ValueError(f"not an adoption record: {error}") from error
    raise ValueError(f"not an adoption record of this version: it begins with {row[0]!r}")


def _side(leg: "Leg") -> str:
    dialog = next(iter(leg.dialogs.values()))
    texts = "\n".join(
        (
            dialog.call_id, dialog.local, dialog.local_tag, dialog.remote, dialog.remote_tag, dialog.remote_target,
            leg.session.duty, *dialog.route_set,
        )
    )  # fmt: skip
    numbers = f"{dialog.local_seq},{dialog.remote_seq},{leg.session.interval_s},{int(leg.allows_update)}"
    return f"[{quoted(texts)},{_flow(leg.flow)},{numbers}]"


def _flow(flow: Flow) -> str:
    return f'["{flow.transport}","{flow.host}",{flow.port},{flow.local}]'


def _read_unanswered(row: list[Any]) -> Unanswered:
    _, texts, flow, target_flow, sent_cseq = row
    from_, to, call_id, cseq, uri, branch, local, tag, sent_id, *vias = texts.split("\n")
    return Unanswered(
        tuple(vias), from_, to, call_id, cseq, Flow(*flow), uri, Flow(*target_flow), branch, local, tag, sent_id,
        int(sent_cseq),
    )  # fmt: skip


def _read_side(row: list[Any]) -> Side:
    texts, flow, local_seq, remote_seq, interval_s, allows_update = row
    call_id, local, local_tag, remote, remote_tag, target, duty, *routes = texts.split("\n")
    dialog = Dialog(
        call_id, local, local_tag, remote, remote_tag, target, route_set=tuple(routes), local_seq=int(local_seq),
        remote_seq=int(remote_seq), confirmed=True,
    )  # fmt: skip
    return Side(dialog, Flow(*flow), str(duty), int(interval_s), bool(allows_update))
