"""What a trunk says about who may call by it and what crosses it: credentials, registrations, trust, header rules.

The tables stand here and not in gateway.config.settings because each is checked against the others: a peer that
registers has to show credentials, and its binding is its only target; a user name says which trunk a peer with a
changing address belongs to, so it stands once.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, PlainValidator

from gateway.call.borders import HeaderRule, RuleError, check_rule
from gateway.config.salvage import Conflict, readable, told
from gateway.config.values import HostRule, Secret, Table, Target, Text, Whole, parse_host_rule

if TYPE_CHECKING:
    from gateway.config.settings import TrunkSettings

REGISTER: Final = "register"
"""The entry of ``hosts`` that stands for wherever the peer has registered from."""

SourceRule = HostRule | Literal["register"]


def parse_source(value: object) -> SourceRule:
    """An entry of ``hosts``: an address, a network, ``address:port``, or ``register`` (CONTRACT 3)."""
    return "register" if value == REGISTER else parse_host_rule(value)


Source = Annotated[SourceRule, PlainValidator(parse_source)]


class DigestSettings(Table):
    """Digest authentication of a peer (RFC 8760)."""

    username: Text = Field(min_length=1, description="user name, of each access trunk another one")
    password: Secret = Field(description="password, or env:NAME or file:PATH")
    algorithms: tuple[Literal["SHA-256", "MD5"], ...] = Field(
        default=("MD5", "SHA-256"),
        min_length=1,
        max_length=2,
        description="what an access trunk is challenged with, in this order; others are refused.  MD5 stands first "
        "because old peers look at the first challenge alone (SIPp 3.6); those that stumble over one they do not know "
        'wherever it stands (baresip 1.0) need ["MD5"]',
    )


class RegistrationSettings(Table):
    """The gate's registration with a carrier that asks for it (RFC 3261 10)."""

    registrar: Target = Field(description="where to register, as a SIP URI without user part")
    address: Text = Field(
        default="",
        pattern=r"^(sips?:[^@\s<>\"]+@[^@\s<>\"]+)?$",
        description="the address that is registered, sip:USER@DOMAIN; empty: the digest's user name at the registrar",
    )
    expires_s: Whole = Field(default=3600, ge=60, le=86_400, description="how long a registration is asked to last")


class HeaderRuleSettings(Table):
    """One rule for the headers of messages from or to a trunk."""

    action: Literal["add", "remove", "rewrite"] = Field(
        description="add to INVITE; remove from, or rewrite in, every message"
    )
    header: Text = Field(
        pattern=r"^[A-Za-z0-9\-.!%*_+`'~]{1,64}$", description="name of the header; none that SIP itself needs"
    )
    direction: Literal["arriving", "leaving"] = Field(
        default="leaving", description="arriving: in messages from this trunk; leaving: in messages to it"
    )
    pattern: Text = Field(
        default="", description="rewrite: an expression that the whole value matches, as in dial plans"
    )
    value: Text = Field(default="", description="add: the value; rewrite: what the value becomes, $1 for a group")

    @property
    def rule(self) -> HeaderRule:
        """The same as the call machine's value."""
        return HeaderRule(self.action, self.header, self.value, self.pattern)


def trunk_conflicts(trunks: Sequence["TrunkSettings"]) -> Iterator[Conflict]:
    """Keys of trunks that are right by themselves and wrong together."""
    each = [(f"trunk[{index}]", trunk) for index, trunk in enumerate(trunks)]
    yield from told(_usernames_twice(trunks), *(rule(key, trunk) for key, trunk in each for rule in _EACH))


def _usernames_twice(trunks: Sequence["TrunkSettings"]) -> Iterator[Conflict]:
    owners: dict[str, str] = {}
    for index, (role, name, digest) in readable(trunks, lambda trunk: (trunk.role, trunk.name, trunk.digest)):
        if role != "access" or digest is None:
            continue
        for _, username in readable([digest], lambda table: table.username):
            if username in owners:
                yield f"trunk[{index}].digest.username", f'"{username}"', f'already of trunk "{owners[username]}"'
            owners.setdefault(username, name)


def _registers(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    if REGISTER not in trunk.hosts:
        return
    if trunk.role != "access":
        yield f"{key}.hosts", "", 'only access trunks register; a carrier that asks us to has a "registration"'
    elif trunk.digest is None:
        yield f"{key}.digest", "", 'needed with hosts = ["register"]: anybody could register'
    if len(trunk.hosts) > 1:
        yield f"{key}.hosts", "", '"register" stands alone: the peer is where it registered from'
    if trunk.targets:
        yield f"{key}.targets", "", 'left out with hosts = ["register"]: the target is where the peer registered'
    if trunk.proxy is not None:
        yield f"{key}.proxy", "", 'left out with hosts = ["register"]: calls go straight to where the peer registered'


def _is_registered(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    registration = trunk.registration
    if registration is None:
        return
    if trunk.role != "carrier":
        yield f"{key}.registration", "", f'only with carriers, and trunk "{trunk.name}" is an access trunk'
    if not registration.address and trunk.digest is None:
        yield f"{key}.registration.address", "", "needed without digest: nobody knows what to register"


def _rules(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    for place, rule in readable(trunk.header_rules, lambda each: each.rule):
        try:
            check_rule(rule)
        except RuleError as error:
            yield f"{key}.header_rules[{place}]", f'"{rule.header}"', str(error)


def _paid_by(trunk: "TrunkSettings") -> list[str]:
    return [name for name in ("tenant", "tenant_from") if getattr(trunk, name)]


def _payer(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    if trunk.role == "access" and len(_paid_by(trunk)) != 1:
        yield f"{key}.tenant", "", f'access trunk "{trunk.name}" needs either tenant or tenant_from = "caller"'


def _carrier_payer(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    if trunk.role == "carrier" and (paid_by := _paid_by(trunk)):
        yield f"{key}.{paid_by[0]}", "", f'carrier trunk "{trunk.name}" has no tenant: its called numbers say who pays'


def _chooses_calls(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    if trunk.role == "access" and (trunk.prefixes or trunk.emergency):
        named = "prefixes" if trunk.prefixes else "emergency"
        yield f"{key}.{named}", "", f'only carriers choose calls, and trunk "{trunk.name}" is an access trunk'


def _limits(key: str, trunk: "TrunkSettings") -> Iterator[Conflict]:
    if trunk.role == "carrier" and trunk.limits.model_fields_set:
        yield f"{key}.limits", "", f'only access trunks have limits, and trunk "{trunk.name}" is a carrier'


_EACH: Final = (_payer, _carrier_payer, _chooses_calls, _limits, _registers, _is_registered, _rules)
"""Rules for each trunk by itself."""
