"""The settler tells tenants: from a call in Redis to the webhook, without holding up what it books."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway.call.commands import Refused
from gateway.call.record import CallRecord
from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger
from gateway.settlement import Settler, fund
from gateway.settlement.notify import Notifier, Post, Senders
from gateway.settlement.outbox import book_refused

from .conftest import DECK
from .receivers import Receiver, receiver
from .test_settler import until

LEFT = 3_000
"""A call of three seconds."""


@contextlib.asynccontextmanager
async def telling(ledger: Ledger, credit: CreditAdmin, stop: asyncio.Event) -> AsyncIterator[asyncio.Task[None]]:
    post = Post("secret")
    notifier = Notifier(ledger, post, senders=Senders(post, webhook_s=30))
    task = asyncio.create_task(Settler(ledger, credit, notifier=notifier).run(stop))
    try:
        yield task
    finally:
        stop.set()
        await task
        await notifier.close()


async def target(ledger: Ledger, folder: Path, *urls: str) -> None:
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    tenants = [{"id": "contoso", "rate_deck": "standard", "notify": list(urls)}]
    await ledger.provision(parse({"rate_deck": decks, "tenant": tenants}, "test.toml", folder))


async def leave(ledger: Ledger, credit: CreditAdmin, left: int, reference: str) -> None:
    """Take out what is more than ``left``."""
    available = (await credit.account("contoso")).available_micros
    await fund(ledger, credit, "contoso", left - available, reference, kind="adjustment")


async def test_an_emptied_account_is_told_of_once_and_again_after_money(
    ledger: Ledger, credit: CreditAdmin, caller: Any, tmp_path: Path
) -> None:
    async with receiver() as hook, telling(ledger, credit, asyncio.Event()):
        await target(ledger, tmp_path, hook.url())
        await leave(ledger, credit, LEFT, "out")
        for round_, money in enumerate((0, 3_000), 1):
            if money:
                await fund(ledger, credit, "contoso", money, "again", kind="refund")
            caller.call(talk_ms=3_000)
            await until(lambda round_=round_: len(hook.posts) == round_, "the message")
        caller.call(talk_ms=3_000)  # there is nothing left to reserve
        await until(lambda: caller.store.unacknowledged == 0, "the answer")
    assert hook.events() == ["balance.zero"] * 2
    assert [post.document["balance"] for post in hook.posts] == ["0.000000"] * 2
    assert len({post.document["id"] for post in hook.posts}) == 2


async def test_a_receiver_that_hangs_holds_up_neither_booking_nor_the_end(
    ledger: Ledger, credit: CreditAdmin, caller: Any, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    async with receiver() as hook:
        hook.moods["/never"] = [0, 200]
        async with telling(ledger, credit, stop) as working:
            await target(ledger, tmp_path, hook.url("/never"))
            await leave(ledger, credit, LEFT, "out")
            caller.call(talk_ms=3_000)
            await until(lambda: hook.waiting == 1, "the message")
            call_id = caller.call("fabrikam")
            await until(lambda: booked(ledger, call_id), "the charge")
            assert not working.done()
            assert hook.waiting == 1
        async with telling(ledger, credit, asyncio.Event()):
            await until(lambda: len(hook.posts) == 2, "the message again")
        await still(hook)


async def booked(ledger: Ledger, call_id: str) -> bool:
    return call_id in await ledger.booked_charges([call_id])


async def still(hook: Receiver) -> None:
    assert [post.path for post in hook.posts] == ["/never", "/never"]


async def test_a_call_whose_money_ends_is_told_of_to_webhooks_once(
    ledger: Ledger, credit: CreditAdmin, caller: Any, tmp_path: Path
) -> None:
    record = CallRecord(
        "c1:low", "contoso", "user_out", caller="+1", number="+2", ended_ms=1_796_000_000_000, reason="LOW_CREDIT"
    )
    async with receiver() as hook:
        await target(ledger, tmp_path, hook.url(), f"json://127.0.0.1:{hook.port}/apprise")
        for _ in range(2):
            for tenant in ("contoso", "fabrikam"):
                record.tenant_id = tenant
                caller.store.submit(Refused("c1", tenant, "low", record.encode()))
            caller.store.submit(Refused("c2", "contoso", "pbx", b'{"call_id":"c2","reason":"NO_ROUTE"}'))
        await until(lambda: waiting(credit, 6), "all of them in Redis")
        assert await book_refused(ledger, credit) == 6
        stop = asyncio.Event()
        async with telling(ledger, credit, stop):
            await until(lambda: hook.posts, "the message")
    (post,) = hook.posts
    assert {name: post.document[name] for name in ("event", "call", "from", "to", "paid_until_at")} == {
        "event": "call.low_credit", "call": "c1", "from": "+1", "to": "+2",
        "paid_until_at": "2026-11-30T00:53:20.000Z",
    }  # fmt: skip
    assert await ledger.latest_notices("fabrikam", 10) == []
    assert await ledger.call("c1:low") is None


async def waiting(credit: CreditAdmin, count: int) -> bool:
    return len(await credit.read_refused()) == count
