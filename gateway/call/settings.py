"""What an operator sets about calls: the part of ``callgate.toml`` that the call machine needs, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.call.borders import TrunkTerms
from gateway.sip.digest import Credentials

MIN_SESSION_EXPIRES_S: Final = 90
"""The smallest session interval there may be (RFC 4028 4); a peer that asks for less gets 422."""


@dataclass(frozen=True, slots=True)
class Announcing:
    """What callers hear of their money, and from whom: SIP URIs, empty for none (gateway.call.announcing).

    ``refused`` gets calls that are refused for want of credit, ``at_zero`` the callers of those whose money ended, each
    for ``longest_s`` at most.  With ``warns`` the caller is told by INFO ``warning_s`` before talk ends.  Callers of
    ``trunks`` alone are whom it concerns: their tenants' people.
    """

    refused: str = ""
    at_zero: str = ""
    longest_s: int = 60
    warns: bool = False
    warning_s: int = 30
    trunks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CallSettings:
    """Settings of CONTRACT 3 for calls, all in seconds.

    ``node`` is the owner's name in call records.  ``session_expires_s`` 0 switches RFC 4028 off, else it is at least
    90.  Each peer is asked by OPTIONS every ``options_every_s`` whether it is there; 0: who knows no session timers.
    ``lease_grace_s`` is how long a lease outlasts paid-until (MONEY 5).  With ``follow_redirects`` a 3xx of the
    called side that names the same number at another address is dialled, else it is relayed to the caller.
    Once its targets have said nothing for ``failover_s`` together, a call goes on to no other.
    ``forwarders`` are the trunks whose 3xx to another number is followed by a call that who forwards pays, and
    ``referrers`` those whose REFER is.
    ``credentials`` are what the gate shows peers that ask, ``terms`` what they are believed and shown, by trunk.
    Of the trunks ``guarded`` the gate takes the same credentials for right: it challenges for them in ``realm``, so it
    answers no challenge of that realm with them, and none at all of who calls by such a trunk.
    """

    node: str = "gate-1"
    tick_s: int = 60
    renew_lead_s: float = 2.0
    max_call_s: int = 14400
    ring_timeout_s: float = 180.0
    target_timeout_s: float = 4.0
    failover_s: float = 20.0
    session_expires_s: int = 1800
    options_every_s: int = 0
    lease_grace_s: int = 30
    follow_redirects: bool = False
    forwarders: frozenset[str] = frozenset()
    referrers: frozenset[str] = frozenset()
    credentials: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    guarded: frozenset[str] = frozenset()
    realm: str = ""
    terms: Mapping[str, TrunkTerms] = field(default_factory=dict)
    announcing: Announcing = Announcing()

    def __post_init__(self) -> None:
        if self.tick_s < 1:
            raise ValueError(f"tick_s is {self.tick_s}: a tick is at least one second")
        if self.session_expires_s and self.session_expires_s < MIN_SESSION_EXPIRES_S:
            raise ValueError(
                f"session_expires_s is {self.session_expires_s}: set 0 (off) or at least {MIN_SESSION_EXPIRES_S}"
            )

    @property
    def lead_s(self) -> float:
        """How long before paid time ends the next tick is asked for; half a tick where the setting is a whole one."""
        return self.renew_lead_s if self.renew_lead_s < self.tick_s else self.tick_s / 2
