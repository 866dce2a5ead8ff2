"""Whose credentials the gate itself takes for right: it must not be brought to show them in its own realm.

A peer that may be asked for a password by the gate could hand a challenge of the gate's back to it, and show the answer
as its own (a reflection).  A carrier's are another matter: nobody gets in by them, and the carrier may be a gate like
this one, with the same realm.
"""

from collections.abc import Iterable

from gateway.config.settings import TrunkSettings


def guarded_of(trunks: Iterable[TrunkSettings]) -> frozenset[str]:
    """The access trunks with ``digest``, and every other trunk that has the user name of one of them."""
    known = [(trunk, trunk.digest.username) for trunk in trunks if trunk.digest is not None]
    shown = {username for trunk, username in known if trunk.role == "access"}
    return frozenset(trunk.name for trunk, username in known if username in shown)
