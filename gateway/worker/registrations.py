"""The registrations of this gate with carriers that ask for it; the worker of slot 0 keeps them up.

What is registered is the address that all workers hear on, so calls come to whichever of them they hash to.  A gate
that ends leaves its registrations to its next start; whether each is up is a metric and stands in the log.
"""

from collections.abc import Callable, Iterable

from gateway.call.b2bua import B2bua
from gateway.config.settings import Settings, TrunkSettings
from gateway.config.values import bracketed
from gateway.sip.deadlines import Deadlines
from gateway.sip.digest import Credentials
from gateway.sip.events import Flow
from gateway.sip.registration import Registration, Wanted
from gateway.sip.uri import SipUri, escape_user, parse_uri
from gateway.telemetry.logs import get_logger
from gateway.telemetry.worker import WorkerMetrics
from gateway.worker.guarded import guarded_of

log = get_logger("worker")


def address_of(trunk: TrunkSettings) -> SipUri | None:
    """The address that the gate registers with a carrier; None where it does not."""
    registration = trunk.registration
    if registration is None:
        return None
    if registration.address:
        address = parse_uri(registration.address)
    else:
        registrar = parse_uri(str(registration.registrar))
        user = trunk.digest.username if trunk.digest is not None else ""
        address = SipUri(registrar.host, user=user) if isinstance(registrar, SipUri) else registrar
    assert isinstance(address, SipUri), "the settings have checked it"
    return address


def registered_users(trunks: Iterable[TrunkSettings]) -> dict[str, str]:
    """The user part of the Contact that a carrier is told, by trunk."""
    return {trunk.name: address.user for trunk in trunks if (address := address_of(trunk)) is not None}


def wanted(trunk: TrunkSettings, settings: Settings) -> Wanted:
    """What is registered with a carrier."""
    registration, address = trunk.registration, address_of(trunk)
    assert registration is not None, "asked only of trunks with a registration"
    assert address is not None, "as above"
    registrar = parse_uri(str(registration.registrar))
    transport = registrar.transport if isinstance(registrar, SipUri) else "udp"
    listens = settings.sip.listen
    heard = next((listen for listen in listens if listen.transport == transport), listens[0])
    host = bracketed(settings.sip.advertise or heard.host)
    tail = "" if heard.transport == "udp" else f";transport={heard.transport}"
    contact = f"<sip:{escape_user(address.user)}@{host}:{heard.port}{tail}>"
    return Wanted(str(registration.registrar), str(address), contact, registration.expires_s)


class Registrations:
    """Starts and watches the registrations of one worker."""

    def __init__(
        self,
        settings: Settings,
        credentials: dict[str, Credentials],
        b2bua: B2bua,
        deadlines: Deadlines,
        metrics: WorkerMetrics,
    ) -> None:
        self.find: Callable[[str, int], Flow | None] = lambda name, failures: None
        """Where a carrier's registrar is reached (gateway.worker.targets.Targets.registrar)."""
        self._metrics = metrics
        self._there: dict[str, tuple[bool, str]] = {}
        guarded = guarded_of(settings.trunk)
        self._all = [
            Registration(
                wanted(trunk, settings),
                credentials.get(trunk.name),
                b2bua.endpoint,
                deadlines,
                b2bua.new_token,
                lambda there, why, name=trunk.name: self._note(name, there, why),  # type: ignore[misc]
                settings.sip.realm if trunk.name in guarded else "",
                lambda failures, name=trunk.name: self.find(name, failures),  # type: ignore[misc]
            )
            for trunk in settings.trunk
            if trunk.registration is not None
        ]
        for trunk in settings.trunk:
            if trunk.registration is not None:
                metrics.registered(trunk.name, False)

    def start(self, now: float) -> None:
        """Register with all."""
        for registration in self._all:
            registration.start(now)

    def _note(self, name: str, there: bool, why: str) -> None:
        """Count and, where something is new, log it: a carrier that is away for a day is no news each half hour."""
        self._metrics.registered(name, there)
        if self._there.get(name) == (there, why):
            return
        self._there[name] = (there, why)
        if why:
            log.warning("registration failed", trunk=name, why=why, still_registered=there)
        else:
            log.info("registered with a carrier", trunk=name)
