"""Notices from the ledger to whoever is to be told: the settler's job that waits for other people's servers.

Each target is served by itself: what one has been told is written down at once and not repeated because another could
not be reached, and the process may die at any moment.  Within a target, messages go one after the other, oldest first;
the first that does not arrive ends the target's turn, and those behind it wait as long, so that a dead server is tried
once and not once for each message.  Tries rest longer and longer; after GIVE_UP_MS the target is given up.

Notices are claimed before they are sent, since several gates may share a ledger and each has a settler.  A claim ends
by itself, after which another settler goes on: so a message may come twice when a settler died, or the ledger was away,
between sending and writing down; its ``id`` is the same then.

How much is on its way is bounded: notices of a turn, messages of a target in it, targets at once, and the time of each.
Booking waits for none of it: it is another task, and the ledger is asked only between two messages.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from gateway.config.kept_secret import kept_secret
from gateway.config.settings import Settings
from gateway.ledger import Ledger
from gateway.ledger.notices import Contacts, Delivery, Notice, State, Told
from gateway.settlement.notify_apprise import AppriseSender
from gateway.settlement.notify_events import EVENTS, TEST, Event
from gateway.settlement.notify_targets import Target, targets
from gateway.settlement.notify_text import compose
from gateway.settlement.notify_webhook import NotTaken, send_webhook, tenant_key
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import NOTICES, Meter

CLAIM_MOST: Final = 200
"""Notices of one turn."""

EACH_MOST: Final = 20
"""Messages of one target in one turn; the rest has the next one."""

AT_ONCE: Final = 32
"""Targets that are being served at once: slow ones leave room for others."""

TURN_MS: Final = 60_000
"""No message is begun later in a turn than this."""

CLAIM_MS: Final = 180_000
"""A claim outlives the turn by more than the longest message takes."""

WEBHOOK_S: Final = 10.0
APPRISE_S: Final = 60.0
"""How long one message may take, whatever the receiver does meanwhile; mail servers make their senders wait."""

RESTS_MS: Final = (5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000)
"""Rest after the first try that failed, the second, …; the last one stays."""

GIVE_UP_MS: Final = 24 * 3_600_000
"""A target that cannot be reached for a day is given up, each message after at least one try."""

SECRET_FILE: Final = "webhook-secret"  # noqa: S105  the name of a file

log = get_logger("settlement")


@dataclass(frozen=True, slots=True)
class Post:
    """How the gate sends: the secret that tenants' webhook keys are made from, and the mail gateway's Apprise URL."""

    secret: str = field(repr=False)
    mail: str = field(default="", repr=False)


def read_post(settings: Settings) -> Post:
    """How the gate of these settings sends; a secret is made where they give none.  Raises KeptSecretError."""
    given = settings.notifications.webhook_secret.get_secret_value()
    secret = given or kept_secret(settings.data_dir / SECRET_FILE, "notifications.webhook_secret")
    return Post(secret, settings.notifications.mail)


@dataclass(slots=True)
class _Letter:
    """One message to one target, with what is known of earlier tries; ``served`` is what became of it in this turn."""

    notice: Notice
    tenant: Contacts
    target: Target
    before: Delivery | None
    served: Delivery | None = None

    @property
    def latest(self) -> Delivery | None:
        return self.served or self.before


class Senders:
    """The ways to a target."""

    def __init__(self, post: Post, webhook_s: float = WEBHOOK_S, apprise_s: float = APPRISE_S) -> None:
        """``webhook_s``, ``apprise_s``: how long one message may take."""
        self._post = post
        self._webhook_s = webhook_s
        self._http = httpx.AsyncClient(timeout=webhook_s, follow_redirects=False)
        self._apprise = AppriseSender(apprise_s)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def send(self, notice: Notice, tenant: Contacts, target: Target) -> None:
        """Send a message once.  Raises NotTaken."""
        message = compose(notice, tenant)
        if target.way != "webhook":
            await self._apprise.send(target.url, message)
            return
        key = tenant_key(self._post.secret, tenant.tenant_id)
        try:
            async with asyncio.timeout(self._webhook_s):
                await send_webhook(self._http, target.url, key, notice, message.body, int(time.time()))
        except TimeoutError:
            raise NotTaken(f"no answer within {self._webhook_s:g} s") from None


class Notifier:
    """Delivers what waits in the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        post: Post,
        meter: Meter | None = None,
        *,
        senders: Senders | None = None,
        rests_ms: Sequence[int] = RESTS_MS,
        give_up_ms: int = GIVE_UP_MS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._ledger = ledger
        self._post = post
        self._senders = senders or Senders(post)
        self._rests_ms = rests_ms
        self._give_up_ms = give_up_ms
        self._now_ms = now_ms
        self._counted = (meter or Meter()).counter(NOTICES)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._said_no_mail = False

    async def close(self) -> None:
        """Close connections to receivers."""
        await self._senders.close()

    async def deliver(self) -> bool:
        """One turn; whether there is more to do at once.  Raises LedgerAway.

        May be cancelled: what was told by then is written down, and the rest is free for the next turn.
        """
        now_ms = self._now_ms()
        told = await self._ledger.claim_notices(now_ms, now_ms + CLAIM_MS, CLAIM_MOST)
        if not told:
            return False
        tenants = await self._ledger.contacts({each.notice.tenant_id for each in told})
        letters = {each.notice.id: self._letters(each, tenants) for each in told}
        try:
            await self._serve_all([letter for some in letters.values() for letter in some], now_ms)
        finally:
            due = {name: _next_due_ms(some, now_ms) for name, some in letters.items()}
            await self._ledger.look_again(due)
        return len(told) == CLAIM_MOST or any(due_ms is not None and due_ms <= now_ms for due_ms in due.values())

    async def _serve_all(self, letters: Sequence[_Letter], now_ms: int) -> None:
        queues: defaultdict[tuple[str, str], list[_Letter]] = defaultdict(list)
        for letter in letters:
            if letter.before is None or (letter.before.state == "waiting" and letter.before.due_ms <= now_ms):
                queues[letter.tenant.tenant_id, letter.target.key].append(letter)
        serving = (self._serve(queue, now_ms + TURN_MS) for queue in queues.values())
        for error in await asyncio.gather(
            *serving, return_exceptions=True
        ):  # each target has its turn, whatever others do
            if isinstance(error, BaseException):
                raise error

    def _letters(self, told: Told, tenants: dict[str, Contacts]) -> list[_Letter]:
        """Everybody whom the notice concerns now; who was told and is no target any more is left alone."""
        notice = told.notice
        event = TEST if notice.event == TEST.name else EVENTS.get(notice.event)
        if event is None:
            log.error("notice of an unknown event", tenant=notice.tenant_id, notice=notice.event)
            return []
        tenant, known = tenants[notice.tenant_id], {each.target: each for each in told.deliveries}
        return [_Letter(notice, tenant, target, known.get(target.key)) for target in self._targets(event, tenant)]

    def _targets(self, event: Event, tenant: Contacts) -> list[Target]:
        found = targets(event, tenant, self._post.mail)
        if not self._said_no_mail and any(not target.url for target in found):
            self._said_no_mail = True
            log.warning(
                "administrators get no mail: there is no mail gateway",
                tenant=tenant.tenant_id,
                do='set [notifications] mail = "mailtos://USER:PASSWORD@SERVER"',
            )
        return found

    async def _serve(self, queue: list[_Letter], until_ms: int) -> None:
        """One target's messages in their order, until one does not arrive; those behind it wait as long."""
        async with self._places:
            for place, letter in enumerate(queue):
                if place == EACH_MOST or self._now_ms() >= until_ms:
                    return
                why = await self._try(letter)
                if why:
                    await self._defer(queue[place + 1 :], letter, why)
                    return

    async def _try(self, letter: _Letter) -> str:
        """Send one message and write down what became of it; what went wrong, empty where it arrived."""
        try:
            await self._senders.send(letter.notice, letter.tenant, letter.target)
            why = ""
        except NotTaken as error:
            why = str(error)
        except Exception as error:  # a mistake of our own must not keep the target's other messages for ever
            log.exception("a message could not be made", tenant=letter.tenant.tenant_id, notice=letter.notice.event)
            why = f"fault: {type(error).__name__}"
        now_ms, tries = self._now_ms(), 1 + (letter.before.tries if letter.before else 0)
        if not why:
            await self._keep(letter, "sent", tries, now_ms)
        elif not letter.target.url or now_ms - letter.notice.at_ms >= self._give_up_ms:
            await self._keep(letter, "failed", tries, now_ms, why=why)
        else:
            rest_ms = self._rests_ms[min(tries, len(self._rests_ms)) - 1]
            await self._keep(letter, "waiting", tries, now_ms, now_ms + rest_ms, why)
        self._counted.inc((letter.served.state if letter.served else "",))
        return why

    async def _defer(self, behind: Sequence[_Letter], tried: _Letter, why: str) -> None:
        """Let those behind one that did not arrive wait as long as it does; those that are too old are given up."""
        now_ms = self._now_ms()
        due_ms = max((tried.served.due_ms if tried.served else 0), now_ms)
        for letter in behind:
            tries = letter.before.tries if letter.before else 0
            if now_ms - letter.notice.at_ms >= self._give_up_ms:
                await self._keep(letter, "failed", tries, now_ms, why=why)
            else:
                await self._keep(letter, "waiting", tries, now_ms, due_ms, why)

    async def _keep(
        self, letter: _Letter, state: State, tries: int, at_ms: int, due_ms: int = 0, why: str = ""
    ) -> None:
        letter.served = Delivery(letter.target.key, letter.target.label, state, tries, at_ms, due_ms, why)
        if state == "failed":
            log.warning(
                "a tenant could not be told",
                tenant=letter.tenant.tenant_id,
                notice=letter.notice.event,
                target=letter.target.label,
                why=why,
            )
        await self._ledger.keep_delivery(letter.notice.id, letter.served)


def _next_due_ms(letters: Sequence[_Letter], now_ms: int) -> int | None:
    """When the notice is looked at next: when the first of its targets is, None where all are done with."""
    waits = [now_ms if letter.latest is None else letter.latest.due_ms for letter in letters if not _done(letter)]
    return min(waits, default=None)


def _done(letter: _Letter) -> bool:
    return letter.latest is not None and letter.latest.state != "waiting"
