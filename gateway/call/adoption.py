"""What another process needs to carry a call on, or to end it decently, when this one dies (SIP.md 5 a to c).

Before the answer that is: how to answer the caller's INVITE (its Via, From, To, CSeq) and how to cancel the called
side's (its branch).  From the answer on it is the two dialogs, where they are spoken, the session timers, and where
each peer believes the gate to be: another gate moves the dialog to itself.  That takes an UPDATE, or else a re-INVITE
with the session description that the peer got last, which is therefore stored where a peer does not take UPDATE.  It is
written with commands that go to the store anyway, as a short JSON list: positions instead of names, and all texts of a
side in one, divided by line feeds, which no value of a SIP message can hold.  It is made twice for every call and read
only after a crash.
"""

from dataclasses import dataclass
from functools import lru_cache
from json import loads
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any, Final

from gateway.sip.dialog import Dialog
from gateway.sip.events import Flow
from rating.tariff import Tariff

if TYPE_CHECKING:
    from gateway.call.called import Attempt, CalledLeg
    from gateway.call.caller import CallerLeg
    from gateway.call.leg import Leg

UNANSWERED: Final = 3
ANSWERED: Final = 2
"""The first element of the list: what kind it is, and its version."""

SDP_STORED_MAX: Final = 4096
"""Octets of a session description that is stored: one of audio has some hundreds, one of a browser with video up to
this.  A peer without UPDATE that got a larger one cannot be moved to another gate."""


FLOWS_KEPT: Final = 4096
"""Flows kept as they are written: as many peers as a port remembers."""


@dataclass(frozen=True, slots=True)
class StoredCall:
    """One live call as the credit store knows it: what its next owner begins with.

    ``answered_ms`` is Unix milliseconds, 0 before the answer; ``paid_s`` None where nobody pays; ``proven_s`` the talk
    that is known to have happened.  ``usage`` is its record so far, ``adoption`` what :func:`decode` reads.  ``former``
    names another slot (``node/slot``) that the call was taken over from, and below which generation it was that one's.
    ``terms`` and ``drawn`` are what it may draw, and has drawn, beside the balance (policy.terms, policy.drawn).
    """

    call_id: str
    tenant_id: str
    tick: int
    paid_s: int | None
    held_micros: int
    final: bool
    tariff: Tariff | None
    lease_s: int
    answered_ms: int
    proven_s: int
    usage: bytes
    adoption: bytes
    former: tuple[str, int] = ("", 0)
    terms: str = ""
    drawn: str = ""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A call before its answer: enough for a 500 to the caller and a CANCEL to the called side.

    ``vias``, ``from_``, ``to``, ``call_id`` and ``cseq`` are the caller's INVITE as it came over ``flow``; the rest is
    the INVITE to the called side over the trunk ``carrier``, ``local`` being its From without the tag and ``sent_by``
    its Via's.
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
    sent_by: str
    carrier: str
    sent_cseq: int


@dataclass(frozen=True, slots=True)
class Side:
    """One leg of an answered call: its dialog, where it is spoken, its session timer.

    ``place`` is where the peer believes the gate to be (Identity.place); empty where an older release wrote it.
    ``sdp`` is the session description that it got last, with its type; None where it takes UPDATE.
    """

    dialog: Dialog
    flow: Flow
    session_duty: str
    session_interval_s: int
    allows_update: bool
    place: str = ""
    sdp: tuple[bytes, str] | None = None


@dataclass(frozen=True, slots=True)
class Talking:
    """An answered call; ``acked`` is False where the caller's ACK had still to come when this was written.

    ``carrier`` is the trunk it went out by, ``longest_s`` its longest time, ``sent_cseq`` the number of the INVITE to
    the called side.
    """

    caller: Side
    called: Side
    acked: bool
    carrier: str
    longest_s: int
    sent_cseq: int


def unanswered(caller: "CallerLeg", attempt: "Attempt") -> bytes:
    """What is stored with the reservation, and again when another target is tried."""
    request, target = caller.request, attempt.target
    texts = "\n".join(
        (
            request.get("From") or "", request.get("To") or "", request.call_id, request.get("CSeq") or "", target.uri,
            attempt.branch, attempt.from_, attempt.tag, attempt.call_id, attempt.route.trunk,
            attempt.core.endpoint.identity.sent_by(target.flow), *request.all("Via"),
        )
    )  # fmt: skip
    flows = f"{_flow(caller.flow)},{_flow(target.flow)}"
    return f"[{UNANSWERED},{quoted(texts)},{flows},{attempt.seq}]".encode("utf-8", "replace")


def talking(caller: "CallerLeg", called: "CalledLeg", longest_s: int) -> bytes:
    """What is stored with the answer, and again when a dialog changes."""
    attempt = called.attempt
    assert attempt is not None, "an answered call has a target"
    rest = f"{int(caller.acked)},{quoted(attempt.route.trunk)},{longest_s},{attempt.seq}"
    return f"[{ANSWERED},{_side(caller)},{_side(called)},{rest}]".encode("utf-8", "replace")


def decode(data: bytes) -> Unanswered | Talking:
    """Read back what was stored.  Raises ValueError where it is nothing of the kind."""
    row = loads(data)
    try:
        if row[0] == UNANSWERED:
            return _read_unanswered(row)
        if row[0] == ANSWERED:
            _, caller, called, acked, carrier, longest_s, sent_cseq = row
            sides = _read_side(caller), _read_side(called)
            return Talking(*sides, bool(acked), str(carrier), int(longest_s), int(sent_cseq))
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
    return f"[{quoted(texts)},{_flow(leg.flow)},{numbers},{quoted(leg.place)}{_sdp(leg)}]"


def _sdp(leg: "Leg") -> str:
    """Octets as characters of the same number, so that whatever a peer was sent reads back as it was."""
    if leg.allows_update or leg.sdp is None or len(leg.sdp[0]) > SDP_STORED_MAX:
        return ""
    body, content_type = leg.sdp
    return f",{quoted(content_type)},{quoted(body.decode('latin-1'))}"


@lru_cache(FLOWS_KEPT)
def _flow(flow: Flow) -> str:
    return f'["{flow.transport}","{flow.host}",{flow.port},{flow.local}]'


def _read_unanswered(row: list[Any]) -> Unanswered:
    _, texts, flow, target_flow, sent_cseq = row
    from_, to, call_id, cseq, uri, branch, local, tag, sent_id, carrier, sent_by, *vias = texts.split("\n")
    return Unanswered(
        tuple(vias), from_, to, call_id, cseq, Flow(*flow), uri, Flow(*target_flow), branch, local, tag, sent_id,
        sent_by, carrier, int(sent_cseq),
    )  # fmt: skip


def _read_side(row: list[Any]) -> Side:
    texts, flow, local_seq, remote_seq, interval_s, allows_update, *later = row
    place, content_type, body = (*map(str, later), *("",) * 3)[:3]
    call_id, local, local_tag, remote, remote_tag, target, duty, *routes = texts.split("\n")
    dialog = Dialog(
        call_id, local, local_tag, remote, remote_tag, target, route_set=tuple(routes), local_seq=int(local_seq),
        remote_seq=int(remote_seq), confirmed=True,
    )  # fmt: skip
    sdp = (body.encode("latin-1"), content_type) if body else None
    return Side(dialog, Flow(*flow), str(duty), int(interval_s), bool(allows_update), place, sdp)
