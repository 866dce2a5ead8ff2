"""Where every posting is written: lock the tenants' accounts, chain the lines, move both accounts of each line.

Nothing else in the product writes ``postings`` or ``accounts``.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.bulk import Bulk, ByKeys
from gateway.ledger.chain import GENESIS, Line, Tail
from gateway.ledger.tables import CREDIT, REVENUE, accounts, postings

CHARGE: Final = "charge"
"""The kind of a posting that charges a call; the kinds of fundings are in :mod:`gateway.ledger.entries`."""

OTHER_SIDE: Final = {
    CHARGE: REVENUE,
    "manual": "funding",
    "adjustment": "adjustments",
    "refund": "refunds",
    "recharge": "funding",
    "expiry": "forfeited",
}
"""For each kind of posting the account on the other side."""


async def open_accounts(connection: AsyncConnection, tenant_id: str) -> None:
    """Give a new tenant its accounts, all at zero."""
    names = [CREDIT, *dict.fromkeys(OTHER_SIDE.values())]
    empty = {"balance_micros": 0, "seq": 0, "money_in_seq": 0, "head": GENESIS}
    await connection.execute(insert(accounts), [{"tenant_id": tenant_id, "name": name, **empty} for name in names])


_LOCK = ByKeys(
    select(accounts.c.tenant_id, accounts.c.balance_micros, accounts.c.seq, accounts.c.money_in_seq, accounts.c.head)
    .where(accounts.c.name == CREDIT)
    .order_by(accounts.c.tenant_id)
    .with_for_update(),
    accounts.c.tenant_id,
)


async def lock_tails(connection: AsyncConnection, tenant_ids: Collection[str]) -> dict[str, Tail]:
    """Lock the credit accounts of these tenants, always in the same order, and read where their chains end.

    A tenant that is not there is left out.
    """
    rows = await _LOCK.execute(connection, sorted(tenant_ids))
    return {row.tenant_id: Tail(*row) for row in rows}


_ADD_LINES = Bulk(insert(postings), *Line.__slots__)
_MOVE_CREDIT = Bulk(
    update(accounts)
    .where(accounts.c.tenant_id == bindparam("of"), accounts.c.name == CREDIT)
    .values(
        balance_micros=bindparam("balance"),
        seq=bindparam("last"),
        money_in_seq=bindparam("last_in"),
        head=bindparam("hash"),
    ),
    "balance",
    "last",
    "last_in",
    "hash",
    "of",
    "name_1",
)
_MOVE_OTHER = Bulk(
    update(accounts)
    .where(accounts.c.tenant_id == bindparam("of"), accounts.c.name == bindparam("account"))
    .values(balance_micros=accounts.c.balance_micros - bindparam("amount")),
    "amount",
    "of",
    "account",
)


async def write_lines(connection: AsyncConnection, tails: Iterable[Tail], lines: Sequence[Line]) -> None:
    """Write ``lines`` and move their accounts; ``tails`` are the ends of the chains after them."""
    await _ADD_LINES.execute(connection, [line.row() for line in lines])
    await _MOVE_CREDIT.execute(
        connection, [(t.balance_micros, t.seq, t.money_in_seq, t.head, t.tenant_id, CREDIT) for t in tails]
    )
    moved: defaultdict[tuple[str, str], int] = defaultdict(int)
    for line in lines:
        moved[line.tenant_id, line.account] += line.amount_micros
    await _MOVE_OTHER.execute(connection, [(amount, of, account) for (of, account), amount in moved.items()])
