"""The stores a command works on: the ledger, and Redis where the command needs it.

Where the settings say ``embedded`` and no ``serve`` runs, the embedded Redis is started for the command and stopped
after it; one that runs already is used as it is.  What a settler would do at its start (epochs, accounts, money that
Redis has not heard of) is done then too, because nobody else is there to do it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.admin.desk import Desk
from gateway.admin.documents import known_of
from gateway.call.record import CallRecord
from gateway.cli.output import Failure, note
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.embedded import EmbeddedError, EmbeddedRedis
from gateway.ledger import Ledger, LedgerAway
from gateway.settlement.accounts import settle_in


def data_folder(settings: Settings) -> Path:
    """The data folder, made if need be.  Raises Failure."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"cannot make the data folder {settings.data_dir}: {error.strerror}; set node.data_dir to one that can be"
        ) from error
    return settings.data_dir


@asynccontextmanager
async def open_ledger(settings: Settings, *, needed: bool = True) -> AsyncIterator[Ledger]:
    """The ledger with its tables up to date; where it is not ``needed``, one that is away will do as well.

    Raises LedgerAway.
    """
    async with Ledger.open(settings.ledger.url, data_folder(settings)) as ledger:
        try:
            await ledger.migrate()
        except LedgerAway as error:
            if needed:
                raise
            note(str(error))
        yield ledger


@asynccontextmanager
async def open_credit(
    settings: Settings, ledger: Ledger, *, needed: bool = True, ledger_needed: bool = True
) -> AsyncIterator[CreditAdmin]:
    """The credit store, ready for use; where it is not ``needed``, one that is away will do as well.

    Raises EmbeddedError, StoreError, LedgerAway where that one is needed, LedgerRefused for another number of
    partitions than at the first start.
    """
    async with AsyncExitStack() as stack:
        embedded = EmbeddedRedis(data_folder(settings)) if settings.redis_embedded else None
        partitions = await _partitions(settings, ledger, needed=ledger_needed)
        credit = CreditAdmin(embedded.url if embedded else settings.redis.url, partitions=partitions)
        stack.push_async_callback(credit.close)
        try:
            if embedded and await embedded.ensure():
                stack.push_async_callback(embedded.stop)
                await settle_in(ledger, credit)
        except (EmbeddedError, StoreError) as error:
            if needed:
                raise
            note(str(error))
        yield credit


async def _partitions(settings: Settings, ledger: Ledger, *, needed: bool) -> int:
    try:
        return await ledger.partitions(settings.redis.partitions)
    except LedgerAway:
        if needed:
            raise
        return settings.redis.partitions


@asynccontextmanager
async def open_desk(
    settings: Settings, *, redis_needed: bool = True, ledger_needed: bool = True
) -> AsyncIterator[Desk]:
    """Ledger and credit store, and the desk in front of them."""
    async with (
        open_ledger(settings, needed=ledger_needed) as ledger,
        open_credit(settings, ledger, needed=redis_needed, ledger_needed=ledger_needed) as credit,
    ):
        yield Desk(settings, ledger, credit)


async def announce_directory(settings: Settings, ledger: Ledger) -> None:
    """Tell running workers of the ledger's new directory; nobody need run, the settler tells those who start later."""
    embedded = settings.redis_embedded
    url = EmbeddedRedis(data_folder(settings)).url if embedded else settings.redis.url
    credit = CreditAdmin(url, partitions=settings.redis.partitions)
    try:
        await credit.publish_directory(await ledger.directory_version())
    except StoreError as error:
        if not embedded:
            note(f"{error}; workers hear of the change when Redis is back")
    finally:
        await credit.close()


async def find_record(settings: Settings, call_id: str) -> CallRecord | None:
    """The record of a call that is over, or of a live one as far as it is known; None where nobody knows it."""
    async with open_ledger(settings) as ledger:
        if booked := await ledger.call(call_id):
            return booked
        async with open_credit(settings, ledger) as credit:
            live = await credit.live_calls()
    return next((known_of(call) for call in live if call.call_id == call_id), None)
