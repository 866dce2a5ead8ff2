"""Who is not even answered with ``unknown_source = "drop"``: before a message is parsed, by its source and first words.

A live call outlasts its peer's address: behind a network address translation the source may change at any time, and a
BYE that was dropped would let talk be charged on.  So what carries the To-tag of a live leg is let in from anywhere:
the tag is 64 random bits that only this peer was told.  While a trunk registers, a first INVITE or REGISTER may come
from anywhere too, and is challenged; the ACK of that challenge and a CANCEL belong to it.
"""

import re
from collections.abc import Callable
from typing import Final

from gateway.sip.events import Flow
from gateway.transport.admission import Sources

ASKED: Final = (b"REGISTER ", b"INVITE ", b"ACK ", b"CANCEL ")
"""How messages begin that are for the registrar, or challenged like it, or belong to one that was."""

LOOKED_AT: Final = 8192
"""Bytes of a message in which its To is looked for: it stands among the first headers; a flood must cost little."""

_TO: Final = re.compile(rb"\n(?:to|t)[ \t]*:[^\n]*(?:\r?\n[ \t][^\n]*)*", re.IGNORECASE)
_TAG: Final = re.compile(rb";[ \t\r\n]*tag[ \t\r\n]*=[ \t\r\n]*([0-9A-Za-z.\-]{1,64})", re.IGNORECASE)


def is_stranger(
    sources: Sources, knows_tag: Callable[[str], bool], is_bound: Callable[[str, int], bool] | None
) -> Callable[[bytes, Flow], bool]:
    """Which messages are dropped.

    ``knows_tag`` says whether the gate gave this tag to a leg that lives; ``is_bound(host, port)`` whether a peer has
    registered from there, None where no trunk registers.
    """

    def drops(data: bytes, flow: Flow) -> bool:
        if not sources.is_stranger(data, flow):
            return False
        if is_bound is not None and (data.startswith(ASKED) or is_bound(flow.host, flow.port)):
            return False
        return not any(knows_tag(tag) for tag in _tags(data))

    return drops


def _tags(data: bytes) -> list[str]:
    """What may be the To-tag of a message: a display name may look like one, which does no harm."""
    found = _TO.search(data, 0, LOOKED_AT)
    return [] if found is None else [tag.decode("ascii") for tag in _TAG.findall(found[0])]
