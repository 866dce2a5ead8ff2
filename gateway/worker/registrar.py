"""The registrar of trunks with ``hosts = ["register"]``: hears REGISTER, and knows where each peer is.

What a REGISTER means is gateway.sip.registrar's; here it is checked for credentials, carried out in Redis, which all
workers share, and answered when that is done.  Where Redis does not answer, nor is the REGISTER: 503, and what was
bound stays bound here until it ends.  Those of one account are carried out and answered one after the other, as they
came (RFC 3261 10.3).  Twice a second each worker reads what the others have heard, so the bindings survive any worker,
and a restarted one knows them before it hears its first call.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Final

from gateway.call.refusals import refusal_headers
from gateway.credit.admin import StoreError
from gateway.credit.registrations import Registrations
from gateway.sip.endpoint import Endpoint
from gateway.sip.message import Request
from gateway.sip.reasons import SIP_REASONS, refusal_of
from gateway.sip.registrar import Bindings, Registered, decode, encode, live, register
from gateway.sip.transaction import ServerTransaction
from gateway.telemetry.logs import get_logger
from gateway.worker.callers import Callers
from policy.reasons import REASONS

POLL_S: Final = 0.5
"""How often the bindings that other workers have heard are read."""

PENDING_MAX: Final = 500
"""REGISTERs with right credentials that wait for Redis at once; further ones get 503."""

TRIES: Final = 5
"""How often a REGISTER is carried out anew because another worker changed the bindings meanwhile."""

log = get_logger("worker")


class Registrar:
    """Bindings of the trunks ``names``; ``end_turn(now)`` sends what was answered, ``monotonic()`` reads the clock."""

    def __init__(
        self,
        names: Iterable[str],
        callers: Callers,
        store: Registrations,
        endpoint: Endpoint,
        *,
        unix_ms: Callable[[float], int],
        monotonic: Callable[[], float],
        end_turn: Callable[[float], None],
    ) -> None:
        self.heard_from: Callable[[set[str]], None] = lambda hosts: None
        """Told the addresses of all registrations whenever they change."""
        self._names = tuple(names)
        self._callers = callers
        self._store = store
        self._endpoint = endpoint
        self._unix_ms = unix_ms
        self._monotonic = monotonic
        self._end_turn = end_turn
        self._texts: dict[str, str] = dict.fromkeys(self._names, "")
        self._bindings: dict[str, Bindings] = dict.fromkeys(self._names, ())
        self._sources: dict[tuple[str, int], str] = {}
        self._changed = dict.fromkeys(self._names, 0)
        """How often this worker changed the bindings of each account."""
        self._turns = {name: asyncio.Lock() for name in self._names}
        """Whose turn it is, by account; who waits is let in in the order in which it came."""
        self._away_s = -math.inf
        """When Redis did not answer a REGISTER last."""
        self._failed = False
        self._pending: set[asyncio.Task[None]] = set()

    # where peers are

    def targets(self, trunk: str, now: float) -> tuple[str, ...] | None:
        """Where a trunk is, newest binding first; None where it does not register."""
        bindings = self._bindings.get(trunk)
        if bindings is None:
            return None
        return tuple([each.target for each in live(bindings, self._unix_ms(now))])

    def registered_at(self, host: str, port: int) -> str | None:
        """The trunk that registered from this source, if any."""
        name = self._sources.get((host, port))
        return name if name is not None and live(self._bindings[name], self._unix_ms(self._monotonic())) else None

    def is_bound(self, host: str, port: int) -> bool:
        """Whether a peer has registered from this source."""
        return (host, port) in self._sources

    def _take(self, name: str, text: str) -> None:
        if self._texts[name] == text:
            return
        self._texts[name], self._bindings[name] = text, decode(text)
        self._sources = {
            (binding.host, binding.port): trunk for trunk, some in self._bindings.items() for binding in some
        }
        self.heard_from({host for host, _ in self._sources})

    async def read(self) -> None:
        """Read what is bound; before Redis answers nothing is.  Raises StoreError.

        What this worker changed while the answer was under way is newer than the answer, which is not taken then.
        """
        before = dict(self._changed)
        for name, text in zip(self._names, await self._store.registrations(self._names), strict=True):
            if self._changed[name] == before[name]:
                self._take(name, text)

    async def follow(self, stopping: asyncio.Event) -> None:
        """Read what other workers have heard until ``stopping`` is set; a fault is logged, and the next read tried."""
        while not stopping.is_set():
            with contextlib.suppress(StoreError):
                await self._read_whatever_happens()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), POLL_S)

    async def _read_whatever_happens(self) -> None:
        try:
            await self.read()
        except StoreError:
            raise
        except Exception:
            if not self._failed:  # twice a second is too often to say it
                log.exception("reading registrations caused a fault")
            self._failed = True
        else:
            self._failed = False

    # REGISTER

    def hear(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Answer one REGISTER, once Redis has it."""
        name, challenge = self._callers.check_any(request, transaction.flow, now)
        if challenge is not None:
            self._endpoint.respond(transaction, 401, headers=challenge.headers, now=now)
        elif name not in self._bindings:
            self._refuse(transaction, "NO_REGISTRATION", now)
        elif len(self._pending) >= PENDING_MAX:
            self._refuse(transaction, "REGISTRAR_AWAY", now)
        else:
            task = asyncio.get_running_loop().create_task(self._take_turn(name, transaction, request, now))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    def _refuse(self, transaction: ServerTransaction, code: str, now: float) -> None:
        reason = SIP_REASONS[code]
        self._endpoint.respond(transaction, reason.status, headers=refusal_of(reason), now=now)

    async def _take_turn(self, name: str, transaction: ServerTransaction, request: Request, heard_s: float) -> None:
        """Carry out and answer a REGISTER when those before it are answered; what waited while Redis was found away is
        not asked of it again, so that a long queue ends at once."""
        async with self._turns[name]:
            answer = None if heard_s < self._away_s else await self._carry_out(name, transaction, request)
            now = self._monotonic()
            if answer is None:
                self._refuse(transaction, "REGISTRAR_AWAY", now)
            else:
                self._endpoint.respond(transaction, answer.status, headers=answer.headers, now=now)
            self._end_turn(now)

    async def _carry_out(self, name: str, transaction: ServerTransaction, request: Request) -> Registered | None:
        """The answer to a REGISTER, whatever happens; None where it could not be stored."""
        try:
            return await self._register(name, transaction, request)
        except StoreError as error:
            self._away_s = self._monotonic()
            log.warning("registration not stored", trunk=name, error=str(error))
            return None
        except Exception:
            log.exception("a registration caused a fault", trunk=name)
            return Registered(500, refusal_headers(REASONS["INTERNAL"]))

    async def _register(self, name: str, transaction: ServerTransaction, request: Request) -> Registered | None:
        """Change the bindings in Redis and here; None where others change them all the time."""
        (text,) = await self._store.registrations([name])
        for _ in range(TRIES):
            now_ms = self._unix_ms(self._monotonic())
            answer = register(decode(text), request, transaction.flow, now_ms)
            if answer.bindings is None:
                return answer
            following = encode(answer.bindings)
            life_ms = max((binding.ends_ms - now_ms for binding in answer.bindings), default=0)
            instead = await self._store.put_registration(name, text, following, life_ms)
            if instead is None:
                self._tell(name, following)
                return answer
            text = instead
        return None

    def _tell(self, name: str, text: str) -> None:
        self._changed[name] += 1
        before = [binding.target for binding in self._bindings[name]]
        self._take(name, text)
        after = [binding.target for binding in self._bindings[name]]
        if before != after:
            log.info("registered", trunk=name, at=after)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._pending):
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
