"""The ledger's one door: everything other rooms ask of it."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.call.record import CallRecord
from gateway.config.provisioning import Provisioning
from gateway.ledger import (
    audit,
    booking,
    counters,
    decks,
    directory,
    funding,
    lots,
    notices,
    payments,
    provisioning,
    reading,
    rebuilding,
    reporting,
    schema,
    trial,
    verify,
)
from gateway.ledger.counters import PoolUse
from gateway.ledger.engine import Database, ledger_url
from gateway.ledger.entries import (
    Booked,
    BookedBatch,
    BookedCharge,
    ChainVerdict,
    Change,
    DeckVersion,
    Entry,
    Head,
    LedgerAccount,
    MoneyIn,
    Posting,
    Source,
    Totals,
    WithdrawalEntry,
)
from gateway.ledger.errors import UnknownTenant
from gateway.ledger.lots import LotFault, LotView
from gateway.ledger.payments import Payment, PaymentState, Recharging, Settled
from policy.directory import Directory, ServiceNumber, Tenant, Trunk, User
from policy.funds import Holder
from policy.recharge import RechargeLimits, RechargeRule


def unix_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Ledger:
    """The truth about money, and the directory beside it.  One object per process and event loop; close it at the end.

    Every method raises :class:`LedgerAway` where the database cannot do it now; nothing is half done then.  Amounts
    are micro-units, moments Unix milliseconds.
    """

    def __init__(self, url: str, *, now_ms: Callable[[], int] = unix_ms) -> None:
        """``url`` as :func:`gateway.ledger.ledger_url` gives it; nothing is opened before the first use."""
        self.database = Database(url)
        self._now_ms = now_ms
        self._directory = directory.DirectoryReader(self.database)

    @classmethod
    def open(cls, url: str, data_dir: Path) -> Self:
        """The ledger of ``[ledger] url`` in the settings; ``embedded`` lives in ``data_dir``, which must exist.

        Raises LedgerRefused where the URL is of no database the product knows.
        """
        return cls(ledger_url(url, data_dir))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self.database.close()

    # Schema

    async def migrate(self) -> None:
        """Bring the tables to the newest version, from nothing or from an older one; harmless when repeated."""
        await schema.migrate(self.database)

    async def ping(self) -> None:
        """Raise LedgerAway unless the ledger answers and has its tables."""
        await self.directory_version()

    async def try_write(self) -> None:
        """Raise LedgerAway unless the ledger can be written now; nothing is (:mod:`gateway.ledger.trial`)."""
        await trial.try_write(self.database)

    async def partitions(self, wanted: int | None = None) -> int:
        """The number of Redis partitions, fixed by the first call (default 256); PartitionsFixed for another number."""
        return await schema.fix_partitions(self.database, wanted)

    # Directory

    async def provision(self, document: Provisioning, *, dry_run: bool = False, actor: str = "") -> list[Change]:
        """Make tenants, users, numbers and decks be as ``document`` says; what changed (or would, with ``dry_run``).

        All or nothing; raises ProvisioningRefused.  See :mod:`gateway.ledger.provisioning` for what it leaves alone.
        """
        return await provisioning.provision(self.database, document, self._now_ms(), dry_run, actor)

    async def load_deck(
        self,
        name: str,
        data: bytes,
        *,
        currency: str | None = None,
        effective_from_ms: int | None = None,
        actor: str = "",
    ) -> list[Change]:
        """Add a version of a rate deck from its CSV file's bytes (may be gzipped); nothing where it is in use.

        Raises ProvisioningRefused with row, column and reason, or where it contradicts its tenants' currency.
        """
        file = decks.DeckFile(name, decks.unpack(name, data), currency)
        return await provisioning.load_deck(self.database, file, self._now_ms(), effective_from_ms, actor)

    async def decks(self) -> list[DeckVersion]:
        """Every version of every rate deck, newest first within a name."""
        async with self.database.read() as connection:
            return await decks.list_versions(connection, self._now_ms())

    async def tenants(self) -> list[Tenant]:
        """Every tenant by id, without reading a deck."""
        return await directory.read_tenants(self.database)

    async def tenant(self, tenant_id: str) -> Tenant:
        """One tenant.  Raises UnknownTenant."""
        found = await directory.read_tenants(self.database, tenant_id)
        if not found:
            raise UnknownTenant(tenant_id)
        return found[0]

    async def users(self, tenant_id: str) -> list[User]:
        """A tenant's users by id."""
        return await directory.read_users(self.database, tenant_id)

    async def limited_users(self, tenant_id: str) -> list[User]:
        """Those of a tenant's users that have limits of their own, by id."""
        return await directory.read_users(self.database, tenant_id, limited=True)

    async def holders(self, tenant_id: str) -> Counter[Holder]:
        """How many users and resource accounts of a tenant have which licences where; counted by the database."""
        return await directory.count_holders(self.database, tenant_id)

    async def holder_ids(self, holder: Holder) -> list[str]:
        """Ids of the users with these licences there, and numbers of the resource accounts."""
        return await directory.read_holder_ids(self.database, holder)

    async def service_numbers(self, tenant_id: str) -> list[ServiceNumber]:
        """A tenant's service numbers in order."""
        return await directory.read_service_numbers(self.database, tenant_id)

    async def directory(
        self, trunks: Mapping[str, Trunk], failure_policy: Literal["terminate", "continue", "retry"] = "terminate"
    ) -> Directory:
        """One snapshot of everything policy knows; trunks and policy are the settings'.  Large decks take seconds."""
        return await self._directory.read(trunks, self._now_ms(), failure_policy)

    async def directory_version(self) -> int:
        """The version of the directory; rises with every change; 0 before the first."""
        async with self.database.read() as connection:
            return await schema.directory_version(connection)

    async def announce_due_decks(self) -> int:
        """The directory's version, raised where a deck that was loaded for later has come into effect."""
        now_ms = self._now_ms()
        async with self.database.read() as connection:
            version, due = await schema.version_and_due_deck(connection, decks.is_due(now_ms))
        if not due:
            return version

        async def work(connection: AsyncConnection) -> int:
            await schema.lock_directory(connection)
            await decks.announce_due(connection, now_ms)
            return await schema.raise_directory_version(connection)

        return await self.database.transact(work)

    # Money

    async def fund(
        self,
        tenant_id: str,
        amount_micros: int,
        reference: str,
        kind: str = "manual",
        actor: str = "",
        reason: str = "",
    ) -> Booked:
        """Book money in, once by its reference (MONEY 9); Redis is told by the settlement room, which calls this.

        Raises UnknownTenant, ReferenceConflict or AmountRefused (also for negative amounts: see WithdrawalEntry).
        """
        why = funding.Why(actor, reason)
        return await funding.fund(self.database, tenant_id, amount_micros, reference, kind, why, self._now_ms())

    async def find_funding(self, tenant_id: str, amount_micros: int, reference: str, kind: str) -> Booked | None:
        """The funding or withdrawal booked under ``reference``; None where there is none.  Raises as :meth:`fund`."""
        return await funding.find(self.database, tenant_id, amount_micros, reference, kind)

    async def book(self, entries: Sequence[Entry], source: Source | None = None) -> BookedBatch:
        """Book outbox entries exactly once (:mod:`gateway.ledger.booking`); fastest when sorted by tenant.

        When this returns, every entry is on the disk: booked, known already, or set aside.  ``source`` says where
        they were read; raises EpochPassed where a rebuild of Redis has begun since.
        """
        return await booking.book(self.database, entries, self._now_ms(), source)

    async def account(self, tenant_id: str) -> LedgerAccount:
        """A tenant's balance and the end of its sequence.  Raises UnknownTenant."""
        return await reading.account(self.database, tenant_id)

    async def balance(self, tenant_id: str) -> int:
        """A tenant's balance in micro-units.  Raises UnknownTenant."""
        return (await self.account(tenant_id)).balance_micros

    async def accounts(self, tenant_ids: Collection[str] | None = None) -> list[LedgerAccount]:
        """The accounts of these tenants (None: all) in one snapshot, by tenant id; unknown ones are left out."""
        return await reading.read_accounts(self.database, tenant_ids)

    async def money_in_after(self, tenant_id: str, seq: int) -> list[MoneyIn]:
        """A tenant's money in with sequence numbers above ``seq``, in order (MONEY 4)."""
        return await reading.money_in_after(self.database, tenant_id, seq)

    async def recent_withdrawals(self, window_ms: int) -> list[WithdrawalEntry]:
        """Money out that was booked in the last ``window_ms``, of all tenants."""
        return await reading.recent_withdrawals(self.database, self._now_ms() - window_ms)

    async def has_reference(self, tenant_id: str, reference: str) -> bool:
        """Whether a funding or withdrawal of the tenant is booked under ``reference``."""
        return await reading.has_reference(self.database, tenant_id, reference)

    async def booked_charges(self, charge_ids: Collection[str]) -> set[str]:
        """Which of these charge ids stand in the ledger."""
        return await reading.booked_charges(self.database, charge_ids)

    # Lots, and the payments of auto-recharge

    async def lots(self, tenant_id: str, *, spent: bool = False) -> list[LotView]:
        """A tenant's lots, oldest first; with ``spent`` those too of which nothing is left.  Raises UnknownTenant."""
        return await lots.read(self.database, tenant_id, spent=spent)

    async def expired_lots(self, late_ms: int, after: LotView | None = None) -> list[LotView]:
        """Some lots of prepaid tenants that expired ``late_ms`` ago or before and have something left; those behind
        ``after``, if any is left there."""
        return await lots.read_expired(self.database, self._now_ms() - late_ms, after)

    async def warn_of_lots(self) -> int:
        """Note ``lot.expiring`` for lots that expire within 30 days, once for each; how many were new."""
        return await lots.warn(self.database, self._now_ms())

    async def lot_faults(self, tenant_ids: Collection[str] | None = None) -> list[LotFault]:
        """Tenants whose lots do not add up to their balance; reads every open lot."""
        return await lots.faults(self.database, tenant_ids)

    async def rechargers(self, tenant_id: str | None = None) -> list[Recharging]:
        """Prepaid tenants that recharge themselves, or this one, and how it stands."""
        return await payments.read_rechargers(self.database, tenant_id)

    async def begin_payment(
        self, tenant_id: str, has_micros: int, seen_seq: int, provider: str, limits: RechargeLimits
    ) -> Payment | None:
        """Write down a payment request where one is due (:func:`gateway.ledger.payments.begin`)."""
        now_ms = self._now_ms()
        return await payments.begin(self.database, tenant_id, has_micros, seen_seq, provider, limits, now_ms)

    async def ask_by_hand(self, tenant_id: str, rule: RechargeRule, has_micros: int) -> bool:
        """Note ``recharge.due``, once until money comes in; whether it is new."""
        return await payments.ask_by_hand(self.database, tenant_id, rule, has_micros, self._now_ms())

    async def due_payments(self) -> list[Payment]:
        """Some pending payments that are to be asked about now."""
        return await payments.read_due(self.database, self._now_ms())

    async def payments(self, tenant_id: str, most: int = 20) -> list[Payment]:
        """The latest payments of a tenant, newest first."""
        return await payments.read_latest(self.database, tenant_id, most)

    async def payment(self, key: str) -> Payment:
        """One payment by its key.  Raises UnknownPayment."""
        return await payments.read_one(self.database, key)

    async def postpone_payment(self, payment: Payment, wait_ms: int, provider_id: str = "", why: str = "") -> None:
        """Ask again in ``wait_ms`` what became of a pending payment."""
        await payments.postpone(self.database, payment, self._now_ms() + wait_ms, provider_id, why)

    async def settle_payment(self, key: str, state: PaymentState, provider_id: str = "", why: str = "") -> Settled:
        """Book what became of a payment, once; ``pending`` changes nothing.

        Redis is told by the settlement room.  Raises UnknownPayment, AmountRefused.
        """
        if state == "pending":
            return Settled(await payments.read_one(self.database, key), changed=False)
        return await payments.settle(self.database, key, state, provider_id, why, self._now_ms())

    # What is remembered of Redis, for its rebuild (MONEY 6)

    async def redis_epoch(self) -> int:
        """The highest epoch of Redis that was ever begun; 0 where this ledger never had a Redis."""
        return await rebuilding.read_epoch(self.database)

    async def begin_rebuild(self, holder: str, at_least: int) -> int:
        """Take the lock and the next epoch, above ``at_least`` too.  Raises RebuildHeld where another one holds it."""
        return await rebuilding.begin(self.database, holder, at_least, self._now_ms())

    async def renew_rebuild(self, holder: str, number: int) -> None:
        """Say that ``holder`` goes on with epoch ``number``.  Raises RebuildHeld where another one took over."""
        await rebuilding.renew(self.database, holder, number, self._now_ms())

    async def end_rebuild(self, holder: str, number: int) -> None:
        """Give the lock free.  Raises RebuildHeld where another one took over."""
        await rebuilding.end(self.database, holder, number)

    async def adopt_epoch(self, number: int) -> None:
        """Remember the epoch of a Redis that was opened before the ledger remembered any."""
        await rebuilding.adopt(self.database, number)

    async def outbox_marks(self) -> dict[int, str]:
        """By partition, the last outbox entry that was booked."""
        return await rebuilding.read_marks(self.database)

    async def charges(self, charge_ids: Collection[str]) -> dict[str, BookedCharge]:
        """What is booked under these charge ids."""
        return await rebuilding.read_charges(self.database, charge_ids)

    async def tenants_charged(self, tenant_ids: Collection[str]) -> set[str]:
        """Those of these tenants from whom money was ever taken."""
        return await rebuilding.tenants_charged(self.database, tenant_ids)

    # Notices

    async def claim_notices(self, now_ms: int, until_ms: int, most: int) -> list[notices.Told]:
        """At most ``most`` notices that are due, which no other settler gets before ``until_ms``."""
        async with self.database.read() as connection:
            if not await notices.any_due(connection, now_ms):
                return []
        return await self.database.transact(lambda each: notices.claim_due(each, now_ms, until_ms, most))

    async def add_notices(self, those: Sequence[notices.Notice]) -> int:
        """Add notices of what is true already and stands in no table; how many were new.

        Those of what the ledger books are written where it is booked.
        """
        return await self.database.transact(lambda connection: notices.add(connection, those)) if those else 0

    async def keep_delivery(self, notice_id: str, served: notices.Delivery) -> None:
        """Write down how far a target of a notice has been served."""
        await self.database.transact(lambda connection: notices.keep(connection, notice_id, served))

    async def look_again(self, due: Mapping[str, int | None]) -> None:
        """Say when notices are looked at next (None: never), which ends their claim."""
        await self.database.transact(lambda connection: notices.look_again(connection, due))

    async def latest_notices(self, tenant_id: str | None, most: int) -> list[notices.Told]:
        """The latest notices of a tenant or of all (None), newest first."""
        async with self.database.read() as connection:
            return await notices.read_latest(connection, tenant_id, most)

    async def forget_notices(self, keep_days: int) -> int:
        """Take away some notices that are older than ``keep_days`` days and wait for nobody; how many."""
        before_ms = self._now_ms() - keep_days * notices.DAY_MS
        async with self.database.read() as connection:
            if not await notices.any_old(connection, before_ms):
                return 0
        return await self.database.transact(lambda connection: notices.forget(connection, before_ms))

    async def contacts(self, tenant_ids: Collection[str]) -> dict[str, notices.Contacts]:
        """Whom to tell of what concerns these tenants, by tenant id; unknown ones are left out."""
        async with self.database.read() as connection:
            return await notices.read_contacts(connection, tenant_ids)

    # Audit

    async def note(self, *acts: audit.Act) -> None:
        """Write down administrative acts of now that are carried out elsewhere; the ledger's own write themselves."""
        now_ms = self._now_ms()
        async with self.database.write() as connection:
            await audit.write(connection, [replace(act, at_ms=now_ms) for act in acts])

    async def note_settings(self, node: str, settings: audit.Facts) -> None:
        """Write down a node's settings that touch money, where they have changed since its last start."""
        await audit.note_settings(self.database, node, settings, self._now_ms())

    def acts(
        self, tenant_id: str | None = None, from_ms: int | None = None, to_ms: int | None = None
    ) -> AsyncIterator[audit.Act]:
        """Administrative acts in [from, to), of one tenant or all, oldest first, as a stream."""
        return audit.read(self.database, tenant_id, from_ms, to_ms)

    # Reports

    def postings(self, tenant_id: str) -> AsyncIterator[Posting]:
        """A tenant's ledger lines in order, as a stream.  Raises UnknownTenant at the first."""
        return reading.read_postings(self.database, tenant_id)

    def usage(
        self, tenant_id: str, from_ms: int | None = None, to_ms: int | None = None, *, refused: bool = False
    ) -> AsyncIterator[CallRecord]:
        """A tenant's call records that start in [from, to), by start, as a stream.

        With ``refused`` also calls that were never answered: refused by the gate or the far end, or cancelled.
        Raises UnknownTenant at the first.
        """
        return reading.read_usage(self.database, tenant_id, from_ms, to_ms, refused)

    async def call(self, call_id: str) -> CallRecord | None:
        """The record of a call that is over, answered or refused; None where the ledger has none."""
        return await reading.read_call(self.database, call_id)

    def blockings(self, tenant_id: str) -> AsyncIterator[audit.Act]:
        """Acts that blocked a user of a tenant, or ended that, oldest first, as a stream."""
        return reporting.read_blockings(self.database, tenant_id)

    async def minimum_funding(self, tenant_id: str) -> int | None:
        """A tenant's least funding in micro-units; None where it has none.  Raises UnknownTenant."""
        return await reporting.minimum_funding(self.database, tenant_id)

    async def verify_chain(self, tenant_id: str, kept: verify.Kept | None = None) -> ChainVerdict:
        """Check a tenant's hash chain, running balances, call records, fundings, and heads kept outside.

        Raises UnknownTenant where nothing was kept of the tenant either.
        """
        return await verify.verify_chain(self.database, tenant_id, kept or {})

    async def missing_triggers(self) -> list[str]:
        """The triggers that keep the tables append-only and are not there, or are switched off."""
        return await verify.missing_triggers(self.database)

    async def heads(self) -> list[Head]:
        """Where every tenant's chain ends now: what is kept outside the database once a day."""
        return await verify.read_heads(self.database)

    async def lost_heads(self, kept: Sequence[Head]) -> list[Head]:
        """Those of ``kept`` that the ledger does not have any more as they were kept: somebody changed it."""
        return await verify.lost_heads(self.database, kept)

    async def pool_use(self, tenant_id: str, month: str = "") -> list[PoolUse]:
        """Minutes that were used of the tenant's pools in a month (``2026-11``), or in each where none is given."""
        return await counters.read_pool_use(self.database, tenant_id, month)

    async def note_released(self, tenant_id: str, scope: str, label: str, total_micros: int) -> None:
        """Remember what was released of a spending limit ``SCOPE/PERIOD``, all of it together; repeated, as once."""
        await counters.note_released(self.database, tenant_id, scope, label, total_micros)

    async def open_counters(self) -> dict[str, dict[str, int]]:
        """By tenant, minutes and money of periods that are not over, under their names in Redis (counters)."""
        return await counters.read_open(self.database, self._now_ms())

    async def open_minutes(self) -> dict[str, dict[str, int]]:
        """The same of minutes alone, which are few beside the money of each user and day."""
        return await counters.read_open(self.database, self._now_ms(), counters.MINUTES)

    async def forget_spent(self) -> None:
        """Take away what was counted against spending limits of periods that are over."""
        await counters.forget_spent(self.database, self._now_ms())

    async def totals(self, tenant_ids: Collection[str] | None = None) -> list[Totals]:
        """What each table adds up to, for the audit; reads every row."""
        return await reading.totals(self.database, tenant_ids)
