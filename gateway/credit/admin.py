"""Everything about the credit store that is not one worker's hot path: accounts, money in and out, outbox, orders."""

from collections.abc import Iterable, Sequence

from gateway.credit.orders import Order
from gateway.credit.views import (
    AccountView,
    Applied,
    LiveCall,
    OutboxEntry,
    OutboxState,
    RefusedEntry,
    Swept,
    Withdrawn,
    WorkerView,
)


class StoreError(Exception):
    """The credit store could not do it; the text says what was wrong and what to do."""


class StoreUnreachable(StoreError):
    """Redis cannot be reached, refuses writes, or takes too long: try again later."""


class StoreStale(StoreError):
    """The partition's epoch is missing or being rebuilt: nothing may be changed until it is open (MONEY 6)."""


class PartitionsChanged(StoreError):
    """The number of partitions differs from the one that this Redis was first used with."""


class CreditAdmin:
    """Reads and changes the credit store for the settler, the command line, the supervisor and the admin process."""

    def __init__(self, url: str, *, partitions: int = 256, timeout_s: float = 5.0) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Raise StoreUnreachable unless Redis answers."""
        raise NotImplementedError

    async def prepare(self) -> bool:
        """Make a Redis ready at the first start: fix the partition count, open epoch 1 where no partition has one.

        Returns True where this was the first start of this Redis.  The caller must know that it may be one (an
        empty Redis under a ledger with money in it has lost its memory and must be rebuilt instead, MONEY 6).
        Raises PartitionsChanged; StoreStale where some partitions have an epoch and others not.
        """
        raise NotImplementedError

    async def account(self, tenant_id: str) -> AccountView:
        """One tenant's account; all zero where Redis has none."""
        raise NotImplementedError

    async def accounts(self, tenant_ids: Iterable[str]) -> list[AccountView]:
        """Accounts in the order of the ids."""
        raise NotImplementedError

    async def apply_money_in(self, tenant_id: str, seq: int, amount_micros: int) -> Applied:
        """Add money that the ledger has booked under ``seq``, once; a tenant's numbers must be applied in rising order."""
        raise NotImplementedError

    async def withdraw(self, tenant_id: str, charge_id: str, amount_micros: int, record: bytes) -> Withdrawn:
        """Take money out, at most what is available, and append it to the outbox; the same id takes once."""
        raise NotImplementedError

    async def live_calls(self, tenant_id: str | None = None) -> list[LiveCall]:
        """Live calls of one tenant or of all."""
        raise NotImplementedError

    async def sweep(self, limit: int = 1000) -> list[Swept]:
        """Close calls whose lease has run out, oldest first, at most ``limit``."""
        raise NotImplementedError

    async def read_outbox(self, count: int = 100, block_s: float = 0.0) -> list[OutboxEntry]:
        """Unbooked entries, oldest first within a partition, at most ``count`` of each; waits up to ``block_s`` for one."""
        raise NotImplementedError

    async def trim_outbox(self, entries: Sequence[OutboxEntry]) -> None:
        """Remove entries that the ledger has committed; their markers live for another 24 h."""
        raise NotImplementedError

    async def outbox_state(self) -> OutboxState:
        """How many entries wait and since when."""
        raise NotImplementedError

    async def read_refused(self, count: int = 100) -> list[RefusedEntry]:
        """Refused calls that wait to be written down."""
        raise NotImplementedError

    async def trim_refused(self, entries: Sequence[RefusedEntry]) -> None:
        """Remove refused calls that are written down."""
        raise NotImplementedError

    async def send_order(self, worker: str, order: Order) -> None:
        """Give one worker (``node/slot``) an order."""
        raise NotImplementedError

    async def broadcast_order(self, order: Order) -> None:
        """Give every live worker an order."""
        raise NotImplementedError

    async def read_orders(self, worker: str, after: str = "0-0", block_s: float = 0.0) -> list[tuple[str, Order]]:
        """Orders of a worker after entry id ``after``, each with its id; waits up to ``block_s`` for one."""
        raise NotImplementedError

    async def trim_orders(self, worker: str, up_to: str) -> None:
        """Forget a worker's orders up to and with this entry id: they are carried out."""
        raise NotImplementedError

    async def workers(self) -> list[WorkerView]:
        """Every worker slot that was ever claimed, alive or not."""
        raise NotImplementedError

    async def publish_directory(self, version: int) -> None:
        """Say that the ledger has directory ``version``; never goes back."""
        raise NotImplementedError

    async def directory_version(self) -> int:
        """The version published last; 0 before the first."""
        raise NotImplementedError
