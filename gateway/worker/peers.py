"""What a worker does about who its peers are: asks them for credentials, and hears where they register from.

Put together here from the settings; a gate whose trunks have nothing of it has none of it in its way.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

from gateway.call.b2bua import B2bua
from gateway.call.borders import DEFAULT, TrunkTerms
from gateway.call.settings import Announcing
from gateway.config.kept_secret import kept_secret
from gateway.config.settings import Settings, TrunkSettings
from gateway.config.values import HostRule
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.sip.digest import Credentials, Guard
from gateway.sip.endpoint import ALLOWED
from gateway.sip.events import Flow
from gateway.telemetry.worker import WorkerMetrics
from gateway.transport.admission import Sources
from gateway.transport.clock import Clock
from gateway.transport.strangers import Strangers
from gateway.worker.callers import Callers
from gateway.worker.decide import Decider
from gateway.worker.registrar import Registrar
from gateway.worker.registrations import Registrations, registered_users
from gateway.worker.strangers import is_stranger
from gateway.worker.ways import NumberForm, Ways

NONCE_KEY_FILE: Final = "nonce-key"
"""In the data folder: what signs nonces.  All workers of a gate read it, and a restart goes on with it."""


class Peers:
    """Credentials and registrations of one worker."""

    def __init__(
        self,
        settings: Settings,
        b2bua: B2bua,
        decider: Decider,
        admin: CreditAdmin,
        clock: Clock,
        metrics: WorkerMetrics,
        end_turn: Callable[[float], None],
        slot: int,
        strangers: Strangers,
    ) -> None:
        self._knows_tag = b2bua.may_know
        self.find_registrar: Callable[[str, int], Flow | None] = lambda name, failures: None
        """Where the registrar of a carrier is, set before :meth:`begin`."""
        self._registrar: Registrar | None = None
        self._registrations: Registrations | None = None
        if slot == 0:
            known = credentials_of(settings.trunk)
            self._registrations = Registrations(settings, known, b2bua, b2bua.deadlines, metrics)
        decider.registered_users = registered_users(settings.trunk)
        decider.untrusted = frozenset(trunk.name for trunk in settings.trunk if not trunk.trusted)
        forms = _forms(settings.trunk)
        if forms:
            decider.ways = Ways(lambda trunk, now: None, forms)
        callers = _callers(settings, b2bua, clock, metrics)
        if callers is None:
            return
        decider.callers = callers
        callers.offended, callers.proved = strangers.blame, strangers.expect
        names = [trunk.name for trunk in settings.trunk if trunk.registers]
        if not names:
            return
        registrar = self._registrar = Registrar(
            names,
            callers,
            admin.registered,
            b2bua.endpoint,
            unix_ms=clock.unix_ms,
            monotonic=clock.monotonic,
            end_turn=end_turn,
        )
        callers.registered_at = registrar.registered_at
        registrar.heard_from = strangers.register
        b2bua.hear_register = registrar.hear
        decider.ways = Ways(registrar.targets, forms)

    async def start(self) -> None:
        """Know who has registered, before anything is heard; where Redis is away nobody has."""
        if self._registrar is not None:
            with contextlib.suppress(StoreError):
                await self._registrar.read()

    def begin(self, now: float) -> None:
        """Register with carriers, once their answers can be heard."""
        if self._registrations is not None:
            self._registrations.find = self.find_registrar
            self._registrations.start(now)

    def tasks(self, stopping: asyncio.Event) -> list[Coroutine[None, None, None]]:
        """What goes on beside the calls until ``stopping`` is set."""
        return [] if self._registrar is None else [self._registrar.follow(stopping)]

    async def close(self) -> None:
        """Give up what is under way."""
        if self._registrar is not None:
            await self._registrar.close()

    def is_stranger(self, sources: Sources) -> Callable[[bytes, Flow], bool]:
        """Which messages are not even answered with ``unknown_source = "drop"``: of those that no trunk names, what
        belongs to no live call, is not from who has registered, and does not ask to be (gateway.worker.strangers)."""
        registrar = self._registrar
        return is_stranger(sources, self._knows_tag, None if registrar is None else registrar.is_bound)

    @property
    def may_come_from_anywhere(self) -> bool:
        """Whether a connection has to be taken from an address that no trunk names."""
        return self._registrar is not None


def allowed_methods(settings: Settings) -> tuple[str, ...]:
    """The methods that are taken: REGISTER only where a trunk registers, REFER where it may be more than declined."""
    registers = ("REGISTER",) if any(trunk.registers for trunk in settings.trunk) else ()
    return (*ALLOWED, *registers, *(("REFER",) if referrers_of(settings) else ()))


def forwarders_of(settings: Settings) -> frozenset[str]:
    """The trunks whose 3xx to another number is followed: those of PBXs, where any is (gateway.call.forwarding)."""
    follows = settings.sip.follow_redirects
    return frozenset(trunk.name for trunk in settings.trunk if follows and trunk.role == "access")


def referrers_of(settings: Settings) -> frozenset[str]:
    """The trunks whose REFER is followed: those of PBXs, where any is (gateway.call.referring)."""
    transfers = settings.sip.refer == "transfer"
    return frozenset(trunk.name for trunk in settings.trunk if transfers and trunk.role == "access")


def announcing_of(settings: Settings) -> Announcing:
    """What callers of PBXs hear of their money."""
    said = settings.announcements
    callers = frozenset(trunk.name for trunk in settings.trunk if trunk.role == "access")
    warns = said.warning == "info"
    return Announcing(said.refused, said.at_zero, said.longest_s, warns, said.warning_s, callers)


def sources_of(trunk: TrunkSettings) -> tuple[HostRule, ...]:
    """The addresses that say that a message is this trunk's."""
    return tuple(rule for rule in trunk.hosts if isinstance(rule, HostRule))


def credentials_of(trunks: Iterable[TrunkSettings]) -> dict[str, Credentials]:
    """User names and passwords by trunk."""
    digests = ((trunk.name, trunk.digest) for trunk in trunks)
    return {
        name: Credentials(digest.username, digest.password.get_secret_value()) for name, digest in digests if digest
    }


def terms_of(trunks: Iterable[TrunkSettings]) -> dict[str, TrunkTerms]:
    """What peers are believed and shown, by trunk; those that have nothing of their own are left out."""
    found = {
        trunk.name: TrunkTerms(
            trunk.trusted,
            trunk.sees_addresses,
            trunk.number_plus,
            *(
                tuple(each.rule for each in trunk.header_rules if each.direction == way)
                for way in ("arriving", "leaving")
            ),
        )
        for trunk in trunks
    }
    return {name: terms for name, terms in found.items() if terms != DEFAULT}


def _forms(trunks: Iterable[TrunkSettings]) -> dict[str, NumberForm]:
    """How peers are told the number to call, where it is not simply E.164."""
    forms = {trunk.name: NumberForm(trunk.number_prefix, trunk.number_plus) for trunk in trunks}
    return {name: form for name, form in forms.items() if form != NumberForm()}


def _callers(settings: Settings, b2bua: B2bua, clock: Clock, metrics: WorkerMetrics) -> Callers | None:
    """Who asks for credentials; None where no trunk has to show any."""
    accounts = credentials_of([trunk for trunk in settings.trunk if trunk.role == "access"])
    if not accounts:
        return None
    algorithms = {trunk.name: trunk.digest.algorithms for trunk in settings.trunk if trunk.digest is not None}
    key = kept_secret(settings.data_dir / NONCE_KEY_FILE, "node.data_dir").encode()
    return Callers(
        Guard(key, settings.sip.realm, accounts, algorithms, began_s=clock.unix_ms(clock.monotonic()) // 1000),
        accounts,
        [trunk.name for trunk in settings.trunk if trunk.registers],
        unix_ms=clock.unix_ms,
        new_token=b2bua.new_token,
        count=metrics.credentials,
    )
