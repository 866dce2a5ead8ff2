"""Charges left by owners that do not run any more: the gate has fewer workers now, or another node name.

A call answers only to its owner's name (scripts/lib/fence.lua), so a worker of another slot cannot say these charges
as its own.  One worker of the gate claims the old names instead, one after the other, each as a newer start of its
slot, and gives a name up when its files are done.  Nobody else can hold them: the data folder that has the files is
locked by one gate, and a live gate of another installation that has taken such a name over is not pushed aside.
"""

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from gateway.credit import journal, unsent
from gateway.credit.store import CreditStore, Owner, OwnerTakenError

POLL_S: Final = 1.0
"""How often it is asked whether a name's files are done."""


async def say_for_gone(
    data_dir: Path, running: Collection[str], instance: str, make_store: Callable[[Owner], CreditStore]
) -> None:
    """Say the charges in ``data_dir`` of owners (``node/slot``) that are not ``running``; ends when all are said.

    ``make_store`` makes a store that reads ``data_dir``.  A name that another installation holds is told by the
    store's alert, and its files stay for the next start.
    """
    left = unsent.owners_in(data_dir) | journal.owners_in(data_dir)
    for name in sorted(left - set(running)):
        node, _, slot = name.rpartition("/")
        await _say(make_store(Owner(node, int(slot), instance)))


async def _say(store: CreditStore) -> None:
    try:
        await store.start()
        while store.unsent and not store.fenced:  # noqa: ASYNC110  rare, and nobody waits for it
            await asyncio.sleep(POLL_S)
    except OwnerTakenError:
        return
    finally:
        await store.stop()
