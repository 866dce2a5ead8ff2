"""Settings: ``callgate.toml`` (CONTRACT 3) read once at start, whole and checked, and then never changed.

Every key has its default here, so that no file at all is a working configuration; an unknown key or a bad value is
refused with file, key, value and what was expected, all of them at once.  Money is micro-units, durations are seconds.
Relative paths (``node.data_dir``, ``file:`` secrets, certificates) start at the folder of the file, not at the working
directory, so that every command that reads the same file means the same place.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr

from gateway.call.settings import MIN_SESSION_EXPIRES_S
from gateway.config.announcements import AnnouncementSettings
from gateway.config.limits import CountedLimitsEntry
from gateway.config.payments import PaymentsSettings, payment_conflicts
from gateway.config.problems import read_toml
from gateway.config.salvage import Conflict, read_checked, readable, told
from gateway.config.strangers import StrangerSettings
from gateway.config.trunk import (
    REGISTER,
    DigestSettings,
    HeaderRuleSettings,
    RegistrationSettings,
    Source,
    SourceRule,
    trunk_conflicts,
)
from gateway.config.values import (
    AbsolutePath,
    AddressPort,
    Flag,
    HostName,
    HostPort,
    Identity,
    LedgerUrl,
    Listen,
    ListenAddress,
    MailUrl,
    MicrosNotNegative,
    Name,
    Number,
    Ports,
    Prefix,
    RedisUrl,
    Secret,
    Table,
    Target,
    Text,
    Whole,
)
from gateway.sip.registrar import registered_target
from policy.directory import NOT_COUNTED, Trunk

DEFAULT_FILE: Final = "callgate.toml"
FILE_VARIABLE: Final = "CALLGATE_CONFIG"
EMBEDDED: Final = "embedded"
DAY_S: Final = 86_400
CLAIM_S: Final = 15
"""How long after it was heard last a worker is missed (gateway.credit.tie.CLAIM_TTL_MS)."""
TRUNKS_MAX: Final = 1000
"""Sources are matched entry by entry; more trunks than this want a table of their own, not a file."""
TRUNK_ENTRIES_MAX: Final = 1000
TLS_NAMES_MAX: Final = 100
"""Each is a certificate in the memory of every worker."""
HEADER_RULES_MAX: Final = 50
"""Each costs up to milliseconds on a value made for it (gateway.call.borders)."""

REDIS_SCHEMES: Final = ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://")
LEDGER_SCHEMES: Final = ("sqlite:///", "postgresql://")


class NodeSettings(Table):
    """Who this gate is and where it keeps its files."""

    name: Name = Field(default="gate-1", description="name of this gate, unique among the gates that share a Redis")
    data_dir: AbsolutePath = Field(
        default=Path("callgate-data"),
        validate_default=True,
        description="folder of the embedded stores, journals, charges that wait for Redis, and token",
    )


class TlsNameSettings(Table):
    """A certificate for peers that ask for one name (SNI, RFC 6066 3)."""

    server_name: HostName = Field(description="the name that peers ask for")
    certificate: AbsolutePath = Field(description="PEM file with the certificate for it, and its chain")
    key: AbsolutePath = Field(description="PEM file with its private key")


class TlsSettings(Table):
    """What ``tls://`` addresses show, and by whom peers are verified; the files are read again when they change."""

    certificate: AbsolutePath = Field(description="PEM file with the certificate and its chain")
    key: AbsolutePath = Field(description="PEM file with the private key, without a pass phrase")
    ca: AbsolutePath | None = Field(
        default=None, description="PEM file with the authorities that peers' certificates are from; none: the system's"
    )
    client_certificates: Literal["none", "optional", "required"] = Field(
        default="none", description="whether peers that connect are asked for a certificate, and must show one"
    )
    names: tuple[TlsNameSettings, ...] = Field(
        default=(), max_length=TLS_NAMES_MAX, description="further certificates, by the name a peer asks for"
    )


class SipSettings(Table):
    """Where SIP is heard, by how many processes, and the times and limits of calls."""

    listen: tuple[ListenAddress, ...] = Field(
        default=(Listen("udp", "127.0.0.1", 5060), Listen("tcp", "127.0.0.1", 5060)),
        min_length=1,
        max_length=64,
        description="addresses to hear SIP on; tls:// needs [sip.tls]",
    )
    tls: TlsSettings | None = Field(default=None, description="certificate and key for tls:// addresses")
    workers: Whole = Field(default=1, ge=1, le=256, description="SIP processes, one per core")
    worker_ports: Ports = Field(
        default=tuple(range(5070, 5080)), description="one private port per worker when workers > 1 (SIP.md 2)"
    )
    max_call_s: Whole = Field(default=14_400, ge=1, le=7 * DAY_S, description="the longest a call may last")
    ring_timeout_s: Number = Field(default=180, gt=0, le=3600, description="how long a call may ring")
    target_timeout_s: Number = Field(
        default=4, gt=0, le=60, description="silence of a target before the next one is tried (SIP.md 4)"
    )
    failover_s: Number = Field(
        default=20,
        gt=0,
        le=600,
        description="how long the targets of a call may be silent, together, and it still goes on to further ones",
    )
    nameservers: tuple[AddressPort, ...] = Field(
        default=(), max_length=8, description='name servers such as "127.0.0.1:53" for targets; none: the machine\'s'
    )
    session_expires_s: Whole = Field(
        default=1800, ge=0, le=DAY_S, description="session timer (RFC 4028), at least 90; 0: off"
    )
    options_every_s: Whole = Field(
        default=0,
        ge=0,
        le=DAY_S,
        description="OPTIONS inside each call, to both sides, so often: a side that is gone ends it; 0: to peers that "
        "know no session timers, each half session_expires_s",
    )
    strangers: StrangerSettings = Field(default=StrangerSettings(), description="limits of sources that no trunk names")
    unknown_source: Literal["reject", "drop"] = Field(
        default="reject", description="a source that no trunk names gets 403, or no answer"
    )
    realm: Text = Field(
        default="callgate", min_length=1, description="realm of digest challenges; a peer's password is for this realm"
    )
    advertise: Text = Field(
        default="", description="host for Via and Contact where the listen address is not what peers see"
    )
    max_calls: Whole = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        description="live calls of the gate, 2 % of them kept for emergency calls; above, 503",
    )
    max_calls_per_second: Whole = Field(default=2000, ge=1, le=100_000, description="new calls a second; above, 503")
    drain_s: Number = Field(
        default=30,
        ge=0,
        le=DAY_S,
        description="how long a drain waits for live calls; for emergency calls that ring, ring_timeout_s longer",
    )
    follow_redirects: Flag = Field(
        default=False,
        description="follow a 3xx of the called side instead of relaying it: to the same number elsewhere, and of an "
        "access trunk to another number, by a call that who forwards pays",
    )
    refer: Literal["refuse", "transfer"] = Field(
        default="refuse",
        description="REFER inside a call: 603, or of an access trunk a transfer, by a call that who refers pays, or "
        "with Replaces between two calls of its own",
    )
    t1_s: Number = Field(default=0.5, gt=0, le=10, description="timer T1, the round trip (RFC 3261 17.1.1.1)")
    t2_s: Number = Field(default=4, gt=0, le=60, description="timer T2, the longest retransmit interval")
    t4_s: Number = Field(default=5, gt=0, le=60, description="timer T4, how long a message stays in the network")


class RedisSettings(Table):
    """The credit store."""

    url: RedisUrl = Field(
        default=EMBEDDED,
        repr=False,
        description='"embedded", or redis:// rediss:// unix:// redis+sentinel:// redis+cluster://',
    )
    partitions: Whole = Field(
        default=256,
        ge=1,
        le=16_384,
        description="parts the accounts are spread over; fixed at the first start (MONEY 3)",
    )


class LedgerSettings(Table):
    """The durable ledger."""

    url: LedgerUrl = Field(
        default=EMBEDDED, repr=False, description='"embedded", or sqlite:///PATH or postgresql://user@host/db'
    )


class AdminSettings(Table):
    """The HTTP side."""

    listen: AddressPort = Field(
        default=HostPort("127.0.0.1", 8080), description="address and port of API, console and /metrics"
    )
    token: Secret = Field(
        default=SecretStr(""),
        description="bearer token of the API, or env:NAME or file:PATH; empty: made on first start",
    )


class CreditSettings(Table):
    """How credit is reserved, and what happens where it cannot be."""

    tick_s: Whole = Field(default=60, ge=1, le=3600, description="seconds of talk reserved at a time")
    renew_lead_s: Number = Field(
        default=2.0, gt=0, le=600, description="how long before paid time ends the next tick is asked"
    )
    failure_policy: Literal["terminate", "continue", "retry"] = Field(
        default="terminate", description="calls while Redis is away (RFC 8506 5.7); a tenant's own failure_policy wins"
    )
    failure_ceiling_micros: MicrosNotNegative = Field(
        default=1_000_000, alias="failure_ceiling", description="with continue: at most this much uncharged per call"
    )
    failure_ceiling_total_micros: MicrosNotNegative = Field(
        default=50_000_000,
        alias="failure_ceiling_total",
        description="with continue: at most this much uncharged per tenant",
    )
    gates: Whole = Field(
        default=1, ge=1, le=1000, description="gates that share this Redis, each with its share of the total"
    )
    lease_grace_s: Whole = Field(
        default=30, ge=1, le=3600, description="life of a reservation past its paid time (MONEY 5)"
    )
    takeover_after_s: Number = Field(
        default=10,
        ge=0,
        le=3600,
        description="how long after a gate's claim ran out others take its calls over (SIP.md 5); 0: never",
    )
    outbox_max: Whole = Field(
        default=1_000_000, ge=1, description="charges waiting to be booked; above, new calls get 503"
    )


class TrunkSettings(Table):
    """A peer that sends or takes calls."""

    name: Name = Field(description="name of the trunk")
    role: Literal["access", "carrier"] = Field(
        description="access: calls from here are outbound calls of a tenant; carrier: outbound calls leave here"
    )
    tenant: Identity | None = Field(default=None, description="tenant that pays for calls from an access trunk")
    tenant_from: Literal["caller"] | None = Field(default=None, description="the owner of the caller's number pays")
    hosts: tuple[Source, ...] = Field(
        default=(),
        max_length=TRUNK_ENTRIES_MAX,
        description='sources: address, CIDR or address:port, the most specific wins; or "register": wherever the peer '
        "registers from, by its digest",
    )
    targets: tuple[Target, ...] = Field(
        default=(),
        max_length=TRUNK_ENTRIES_MAX,
        description="where calls are sent, in order of preference; or { uri, priority, weight } each: the lowest "
        "priority first, those of one priority in turn by their weights",
    )
    proxy: Target | None = Field(
        default=None, description="a proxy that calls to the targets go through: their next hop and their Route"
    )
    numbers: Literal["e164", "national"] = Field(default="e164", description="what digits without + are")
    digest: DigestSettings | None = Field(
        default=None,
        description="digest authentication (RFC 8760): an access trunk is challenged, and any trunk's challenges are "
        "answered",
    )
    registration: RegistrationSettings | None = Field(
        default=None, description="register with this carrier, which then sends calls to where it was told"
    )
    options_ping_s: Whole = Field(
        default=30,
        ge=0,
        le=3600,
        description="OPTIONS to the targets; one that no longer answers is tried last of its trunk; 0: off",
    )
    large_by_tcp: Flag = Field(
        default=True,
        description="requests over 1300 bytes go to UDP targets by TCP, unless their URI says transport=udp "
        "(RFC 3261 18.1.1)",
    )
    tls_name: HostName | None = Field(
        default=None,
        description="name that the certificate of TLS targets, and of a registrar, must have; none: their host",
    )
    prefixes: tuple[Prefix, ...] = Field(
        default=(), max_length=TRUNK_ENTRIES_MAX, description="numbers a carrier takes; none: all"
    )
    emergency: Flag = Field(default=False, description="this carrier takes emergency calls")
    limits: CountedLimitsEntry = Field(
        default=CountedLimitsEntry(), description="limits of calls from an access trunk, for each tenant by itself"
    )
    trusted: Flag = Field(
        default=True,
        description="the peer is believed who calls (P-Asserted-Identity), and told, also where the caller hides it",
    )
    sees_addresses: Flag = Field(
        default=False,
        description="IP addresses of the other side stand in what the peer is told; else the gate's own does",
    )
    number_plus: Flag = Field(default=True, description="the peer is told E.164 numbers with their +")
    number_prefix: Text = Field(
        default="",
        pattern=r"^[0-9*#+]{0,16}$",
        description="put in front of the numbers that the peer is to call, such as a tech-prefix",
    )
    header_rules: tuple[HeaderRuleSettings, ...] = Field(
        default=(), max_length=HEADER_RULES_MAX, description="what is added, removed and rewritten, in this order"
    )

    @property
    def registers(self) -> bool:
        """Whether the peer is where it has registered from."""
        return REGISTER in self.hosts


class NotificationsSettings(Table):
    """How tenants are told of events."""

    webhook_secret: Secret = Field(
        default=SecretStr(""),
        description="what tenants' webhook keys are made from, or env:NAME or file:PATH; empty: made at the first "
        "start, kept in data_dir (gates that share a ledger need the same)",
    )
    mail: MailUrl = Field(
        default="",
        repr=False,
        description="Apprise URL of the mail gateway, such as mailtos://USER:PASSWORD@SERVER, or env:NAME or "
        "file:PATH; {to} in it is the address, else it is added; empty: administrators get no mail",
    )
    keep_days: Whole = Field(
        default=400,
        ge=40,
        le=36_500,
        description="how long it is remembered who was told of what; money stays for ever",
    )


class TelemetrySettings(Table):
    """Logs and metrics."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is logged"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else one JSON object a line"
    )
    tenant_labels: Flag = Field(default=True, description="metrics name the tenant; off: one sum without names")
    ladder_calls: Whole = Field(
        default=0, ge=0, le=100_000, description="latest calls whose SIP messages each worker keeps for trace; 0: none"
    )


class Settings(Table):
    """All of ``callgate.toml``."""

    node: NodeSettings
    sip: SipSettings = SipSettings()
    redis: RedisSettings = RedisSettings()
    ledger: LedgerSettings = LedgerSettings()
    admin: AdminSettings = AdminSettings()
    credit: CreditSettings = CreditSettings()
    announcements: AnnouncementSettings = AnnouncementSettings()
    trunk: tuple[TrunkSettings, ...] = Field(default=(), max_length=TRUNKS_MAX)
    payments: PaymentsSettings = PaymentsSettings()
    notifications: NotificationsSettings = NotificationsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @property
    def data_dir(self) -> Path:
        """Folder of everything this gate keeps; absolute, made by whoever writes first."""
        return self.node.data_dir

    @property
    def redis_embedded(self) -> bool:
        """Whether the gate runs its own Redis in ``data_dir``."""
        return self.redis.url == EMBEDDED

    @property
    def renew_lead_s(self) -> float:
        """``credit.renew_lead_s``, clamped to half a tick: a lead of a tick or more would ask for ticks for ever."""
        lead_s = self.credit.renew_lead_s
        return self.credit.tick_s / 2 if lead_s >= self.credit.tick_s else lead_s

    @property
    def drain_longest_s(self) -> float:
        """How long a drain may take: beyond ``sip.drain_s`` only for emergency calls that ring (SIP.md 5)."""
        return float(self.sip.drain_s) + float(self.sip.ring_timeout_s)

    @property
    def trunks(self) -> Mapping[str, Trunk]:
        """The trunks as policy sees them, by name, in file order."""
        return {trunk.name: _policy_trunk(trunk) for trunk in self.trunk}

    @property
    def notices(self) -> list[str]:
        """What the settings say that is not taken literally: for the log at start and for ``check``."""
        return list(_notices(self))


def _notices(settings: Settings) -> Iterator[str]:
    """What is used instead of a setting."""
    credit = settings.credit
    if settings.renew_lead_s != credit.renew_lead_s:
        given = f"credit.renew_lead_s = {credit.renew_lead_s:g} is not below credit.tick_s = {credit.tick_s}"
        yield f"{given}: {settings.renew_lead_s:g} is used"
    if credit.takeover_after_s and credit.takeover_after_s + CLAIM_S >= credit.lease_grace_s:
        given = f"credit.takeover_after_s = {credit.takeover_after_s:g} and {CLAIM_S} s until a gate is missed"
        swept = "calls of a dead gate end before others take them"
        yield f"{given} are not below credit.lease_grace_s = {credit.lease_grace_s}: {swept}"


def _policy_trunk(trunk: TrunkSettings) -> Trunk:
    return Trunk(
        name=trunk.name,
        role=trunk.role,
        tenant=trunk.tenant or "",
        tenant_from=trunk.tenant_from or "",
        targets=(registered_target(trunk.name),) if trunk.registers else tuple(target.uri for target in trunk.targets),
        numbers=trunk.numbers,
        prefixes=trunk.prefixes,
        emergency=trunk.emergency,
        limits=trunk.limits.counted() if trunk.limits.model_fields_set else NOT_COUNTED,
    )


def find_file(path: str | None = None) -> Path | None:
    """The settings file that is meant (CONTRACT 2): ``path``, else $CALLGATE_CONFIG, else ./callgate.toml if there."""
    if named := path or os.environ.get(FILE_VARIABLE):
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


def load(path: str | None = None) -> Settings:
    """The settings in the file that :func:`find_file` finds; every default where there is none.

    Raises ConfigError with every wrong key of the file.
    """
    file = find_file(path)
    return parse(read_toml(file), str(file), file.absolute().parent) if file else parse({}, "", Path.cwd())


def parse(document: dict[str, object], file: str, base: Path) -> Settings:
    """A parsed TOML document as settings; ``file`` is named in problems, relative paths start at ``base``."""
    return read_checked(Settings, {"node": {}, **document}, file, base, _conflicts)


def _conflicts(settings: Settings) -> Iterator[Conflict]:
    """Keys that are right by themselves and wrong together."""
    return told(
        _sip_conflicts(settings),
        _redis_conflict(settings),
        _ledger_conflict(settings),
        _trunks(settings),
        payment_conflicts(settings.payments),
    )


def _sip_conflicts(settings: Settings) -> Iterator[Conflict]:
    sip = settings.sip
    yield from told(_listens(sip), _worker_ports(sip), _session_timer(sip))


def _listens(sip: SipSettings) -> Iterator[Conflict]:
    places = list(enumerate(sip.listen))
    yield from told(
        _listen_twice(places),
        *(rule(place, listen, sip) for place, listen in places for rule in (_needs_certificate, _needs_advertise)),
    )


def _listen_twice(places: list[tuple[int, Listen]]) -> Iterator[Conflict]:
    seen: set[Listen] = set()
    for place, listen in places:
        if listen in seen:
            yield f"sip.listen[{place}]", f'"{listen}"', "expected each address once"
        seen.add(listen)


def hears_tls(sip: SipSettings) -> bool:
    """Whether there is an address where peers can connect by TLS."""
    return any(transport == "tls" for _, transport in readable(sip.listen, lambda listen: listen.transport))


def _needs_certificate(place: int, listen: Listen, sip: SipSettings) -> Iterator[Conflict]:
    if listen.transport == "tls" and not sip.tls:
        yield f"sip.listen[{place}]", f'"{listen}"', "needs [sip.tls] with certificate and key"


def _needs_advertise(place: int, listen: Listen, sip: SipSettings) -> Iterator[Conflict]:
    if listen.host in ("0.0.0.0", "::") and not sip.advertise:  # noqa: S104  recognised, not bound
        why = "needs sip.advertise: peers cannot answer to a Via or Contact that says any address"
        yield f"sip.listen[{place}]", f'"{listen}"', why


def _worker_ports(sip: SipSettings) -> Iterator[Conflict]:
    ports = f"{len(sip.worker_ports)} ports"
    if sip.workers > 1 and len(sip.worker_ports) < sip.workers:
        yield "sip.worker_ports", ports, f"expected one for each of {sip.workers} workers"
    elif sip.workers > 1 and hears_tls(sip) and len(sip.worker_ports) < 2 * sip.workers:
        yield "sip.worker_ports", ports, f"expected two for each of {sip.workers} workers: one of them is for TLS"


def _session_timer(sip: SipSettings) -> Iterator[Conflict]:
    if 0 < sip.session_expires_s < MIN_SESSION_EXPIRES_S:
        yield "sip.session_expires_s", str(sip.session_expires_s), "expected 0 or at least 90 (RFC 4028 4)"


def _redis_conflict(settings: Settings) -> Iterator[Conflict]:
    if not (settings.redis_embedded or settings.redis.url.startswith(REDIS_SCHEMES)):
        yield "redis.url", "", f"expected {EMBEDDED!r} or a URL that starts with {', '.join(REDIS_SCHEMES)}"


def _ledger_conflict(settings: Settings) -> Iterator[Conflict]:
    if settings.ledger.url != EMBEDDED and not settings.ledger.url.startswith(LEDGER_SCHEMES):
        yield "ledger.url", "", f"expected {EMBEDDED!r} or a URL that starts with {', '.join(LEDGER_SCHEMES)}"


def _trunks(settings: Settings) -> Iterator[Conflict]:
    trunks = settings.trunk
    yield from told(
        _names_twice(trunks),
        _hosts_twice(trunks),
        _unheard_targets(settings),
        trunk_conflicts(trunks),
    )


def _names_twice(trunks: tuple[TrunkSettings, ...]) -> Iterator[Conflict]:
    names: set[str] = set()
    for index, name in readable(trunks, lambda trunk: trunk.name):
        if name in names:
            yield f"trunk[{index}].name", f'"{name}"', "expected each name once"
        names.add(name)


def _hosts_twice(trunks: tuple[TrunkSettings, ...]) -> Iterator[Conflict]:
    names = dict(readable(trunks, lambda trunk: f'trunk "{trunk.name}"'))
    owners: dict[SourceRule, str] = {}
    for index, hosts in readable(trunks, lambda trunk: trunk.hosts):
        for place, rule in enumerate(hosts):
            if rule == REGISTER:
                continue
            if rule in owners:
                yield f"trunk[{index}].hosts[{place}]", f'"{rule}"', f"already a source of {owners[rule]}"
            owners.setdefault(rule, names.get(index, f"trunk[{index}]"))


def _unheard_targets(settings: Settings) -> Iterator[Conflict]:
    """A peer that is reached by TLS must be able to reach us by it: its requests inside a call go to our Contact."""
    if hears_tls(settings.sip):
        return
    wanted = "needs a tls:// address in sip.listen"
    for index, targets in readable(settings.trunk, lambda trunk: trunk.targets):
        for place, transport in readable(targets, lambda each: each.transport):
            if transport == "tls":
                yield f"trunk[{index}].targets[{place}]", f'"{targets[place]}"', wanted
    for index, proxy in readable(settings.trunk, lambda trunk: trunk.proxy):
        if proxy is not None and proxy.transport == "tls":
            yield f"trunk[{index}].proxy", f'"{proxy}"', wanted
    for index, registration in readable(settings.trunk, lambda trunk: trunk.registration):
        for _, registrar in readable([registration] if registration else [], lambda each: each.registrar):
            if registrar.transport == "tls":
                yield f"trunk[{index}].registration.registrar", f'"{registrar}"', wanted
