"""Notices delivered for real: to a webhook's server in every mood, by Apprise, and by mail."""

import asyncio
import contextlib
import hashlib
import hmac
import io
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import known
from gateway.config.provisioning import parse
from gateway.ledger import Ledger
from gateway.ledger.notices import Notice, Told, add
from gateway.settlement import notify
from gateway.settlement.notify import Notifier, Post, Senders
from gateway.settlement.notify_webhook import tenant_key
from gateway.telemetry.metrics import NOTICES, Meter

from .conftest import DECK
from .receivers import Mailbox, Receiver, mailbox, receiver

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise imports what Python 3.13 drops

SECRET = "gate-secret"
DAY_MS = 24 * 3_600_000


class Clock:
    """The notifier's clock, which the test moves."""

    def __init__(self) -> None:
        self.ms = 1_796_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


Provision = Callable[..., Any]


@pytest.fixture
def provision(ledger: Ledger, tmp_path: Path) -> Provision:
    async def make(tenant: str = "contoso", **keys: Any) -> None:
        (tmp_path / "deck.csv").write_text(DECK)
        decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
        tenants = [{"id": tenant, "name": f"The {tenant}", "rate_deck": "standard", **keys}]
        await ledger.provision(parse({"rate_deck": decks, "tenant": tenants}, "test.toml", tmp_path))

    return make


@contextlib.asynccontextmanager
async def opened(
    ledger: Ledger, clock: Clock, mail: str = "", meter: Meter | None = None, webhook_s: float = 0.5
) -> AsyncIterator[Notifier]:
    post = Post(SECRET, mail)
    senders = Senders(post, webhook_s=webhook_s, apprise_s=20)
    notifier = Notifier(ledger, post, meter, senders=senders, now_ms=clock, rests_ms=(1_000, 5_000))
    try:
        yield notifier
    finally:
        await notifier.close()


@pytest.fixture
async def notifier(ledger: Ledger, clock: Clock) -> AsyncIterator[Notifier]:
    async with opened(ledger, clock) as made:
        yield made


def zero(clock: Clock, crossing: str = "1", tenant: str = "contoso", event: str = "balance.zero") -> Notice:
    return Notice(tenant, event, crossing, clock.ms, {"balance": "-0.125000", "currency": "USD"})


async def tell(ledger: Ledger, *those: Notice) -> None:
    async with ledger.database.write() as connection:
        assert await add(connection, those) == len(those)


async def told(ledger: Ledger, tenant: str = "contoso") -> list[Told]:
    return await ledger.latest_notices(tenant, 100)


async def states(ledger: Ledger) -> list[tuple[str, str, int]]:
    found = [(each.label, each.state, each.tries) for one in await told(ledger) for each in one.deliveries]
    return sorted(found)


async def test_a_webhook_gets_event_figures_and_a_signature(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    await provision(notify=[hook.url("/hook?token=abc")])
    await tell(ledger, notice := zero(clock))
    before_s = int(time.time())
    assert await notifier.deliver() is False
    (post,) = hook.posts
    assert post.document == {
        "id": notice.id, "event": "balance.zero", "tenant": "contoso", "at": "2026-11-30T00:53:20.000Z",
        "balance": "-0.125000", "currency": "USD", "text": post.document["text"],
    }  # fmt: skip
    assert "-$0.13" in post.document["text"]
    assert post.headers["callgate-event"] == "balance.zero"
    assert post.headers["content-type"] == "application/json"
    moment, digest = (part.partition("=")[2] for part in post.headers["callgate-signature"].split(","))
    assert before_s <= int(moment) <= time.time()
    signed = hmac.new(tenant_key(SECRET, "contoso").encode(), f"{moment}.".encode() + post.body, hashlib.sha256)
    assert hmac.compare_digest(digest, signed.hexdigest())
    assert tenant_key(SECRET, "contoso") != tenant_key(SECRET, "fabrikam") != SECRET
    assert await states(ledger) == [(f"http://127.0.0.1:{hook.port}/***", "sent", 1)]
    assert (await told(ledger))[0].due_ms is None
    await notifier.deliver()
    assert len(hook.posts) == 1


async def test_one_that_fails_is_tried_again_and_the_others_are_told_once(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    hook.moods["/bad"] = [500, 302, -1, 204]
    await provision(notify=[hook.url("/bad"), hook.url("/good")])
    await tell(ledger, zero(clock))
    for rest_ms, tries in ((0, 1), (999, 1), (1, 2), (5_000, 3), (5_000, 4), (DAY_MS, 4)):
        clock.ms += rest_ms
        await notifier.deliver()
        assert len(hook.events("/bad")) == tries
    assert (hook.events("/bad"), hook.events("/good")) == (["balance.zero"] * 4, ["balance.zero"])
    assert [state for _, state, _ in await states(ledger)] == ["sent", "sent"]
    assert {post.document["id"] for post in hook.posts} == {zero(clock).id}, "the same id each time"


async def test_a_restart_goes_on_where_it_was(
    ledger: Ledger, provision: Provision, hook: Receiver, clock: Clock
) -> None:
    hook.moods["/bad"] = [500, 200]
    await provision(notify=[hook.url("/bad"), hook.url("/good")])
    await tell(ledger, zero(clock))
    for _ in range(3):
        async with opened(ledger, clock, webhook_s=20) as notifier:  # a busy machine takes its time to answer
            await notifier.deliver()
        clock.ms += 1_000
    assert (len(hook.events("/bad")), len(hook.events("/good"))) == (2, 1)


async def test_one_that_never_answers_is_given_up_and_holds_nobody_up(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    hook.moods["/never"] = [0]
    await provision(notify=[hook.url("/never"), hook.url("/good")])
    await tell(ledger, *(zero(clock, str(number)) for number in range(5)))
    await notifier.deliver()
    assert len(hook.events("/good")) == 5
    assert hook.waiting == 1, "those behind the one that did not arrive wait with it"
    clock.ms += DAY_MS
    with capture_logs() as logs:
        await notifier.deliver()
    assert hook.waiting == 2
    assert {state for label, state, _ in await states(ledger)} == {"sent", "failed"}
    assert [each.due_ms for each in await told(ledger)] == [None] * 5
    assert {log["why"] for log in logs} == {"no answer within 0.5 s"}
    assert "/never" not in repr(logs)
    await tell(ledger, zero(clock, "later"))
    await notifier.deliver()
    assert hook.waiting == 3, "a new message is a new try"


async def test_messages_of_a_target_come_in_their_order(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    await provision(notify=[hook.url()])
    events = ["balance.low", "balance.zero", "recharge.failed", "recharge.succeeded"]
    for event in events:
        await tell(ledger, zero(clock, event=event))
        clock.ms += 1
    await notifier.deliver()
    assert hook.events() == events


async def test_many_wait_for_further_turns(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    await provision(notify=[hook.url()])
    count = notify.EACH_MOST + 3
    await tell(ledger, *(zero(clock, str(number)) for number in range(count)))
    assert await notifier.deliver() is True
    assert len(hook.posts) == notify.EACH_MOST
    assert await notifier.deliver() is False
    assert len({post.document["id"] for post in hook.posts}) == count == len(hook.posts)


async def test_two_settlers_tell_once(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    await provision(notify=[hook.url()])
    await tell(ledger, *(zero(clock, str(number)) for number in range(10)))
    async with opened(ledger, clock) as other:
        await asyncio.gather(notifier.deliver(), other.deliver())
    assert len({post.document["id"] for post in hook.posts}) == 10 == len(hook.posts)


async def test_one_that_is_broken_off_leaves_the_rest_to_the_next(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    hook.moods["/never"] = [0, 200]
    await provision(notify=[hook.url("/never"), hook.url("/good")])
    await tell(ledger, zero(clock))
    working = asyncio.create_task(notifier.deliver())
    while not (hook.waiting and hook.events("/good")):
        await asyncio.sleep(0.005)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    async with opened(ledger, clock) as other:
        await other.deliver()
    assert (len(hook.events("/never")), [state for _, state, _ in await states(ledger)]) == (2, ["sent", "sent"])


async def test_an_address_that_was_mended_is_told_and_one_that_went_is_not(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    hook.moods["/wrong"] = [404]
    await provision(notify=[hook.url("/wrong")])
    await tell(ledger, zero(clock))
    await notifier.deliver()
    await provision(notify=[hook.url("/right")])
    clock.ms += 5_000
    await notifier.deliver()
    await notifier.deliver()
    assert (len(hook.events("/wrong")), len(hook.events("/right"))) == (1, 1)
    assert (await told(ledger))[0].due_ms is None


async def test_nobody_to_tell_is_no_wait(ledger: Ledger, notifier: Notifier, clock: Clock) -> None:
    await tell(ledger, zero(clock))
    await notifier.deliver()
    (one,) = await told(ledger)
    assert (one.due_ms, one.deliveries) == (None, ())


async def test_apprise_takes_other_schemes_and_no_low_credit(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    await provision(notify=[f"json://127.0.0.1:{hook.port}/apprise", hook.url()])
    await tell(ledger, zero(clock), zero(clock, event="call.low_credit"))
    await notifier.deliver()
    (post,) = [post for post in hook.posts if post.path == "/apprise"]
    assert post.document["title"] == "The contoso: the credit is used up"
    assert "-$0.13" in post.document["message"]
    assert sorted(hook.events()) == ["balance.zero", "call.low_credit"]


@pytest.mark.parametrize("url", ["json://u:hunter2@127.0.0.1:9/hunter2", "nonsense://hunter2/hunter2"])
async def test_what_apprise_cannot_send_is_tried_again_without_telling_secrets(
    ledger: Ledger, provision: Provision, notifier: Notifier, clock: Clock, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_is_apprises", lambda _: True)  # one that a newer Apprise does not know any more
    await provision(notify=[url])
    await tell(ledger, zero(clock))
    said = io.StringIO()
    logging.getLogger().addHandler(ear := logging.StreamHandler(said))  # where libraries' lines go into ours
    with capture_logs() as logs:
        await notifier.deliver()
        clock.ms += DAY_MS
        await notifier.deliver()
    logging.getLogger().removeHandler(ear)
    (delivery,) = (await told(ledger))[0].deliveries
    assert (delivery.state, delivery.tries, delivery.label) == ("failed", 2, f"{url.partition(':')[0]}://***")
    assert delivery.why
    assert "hunter2" not in repr(logs) + repr(delivery) + said.getvalue()


ADMINS = [
    {"email": "ann@example.org", "roles": ["Billing", "Teams Service Administrator"]},
    {"email": "Ann@Example.org", "roles": ["Global"]},
    {"email": "bob@example.org", "roles": []},
    {"email": "carl@example.org", "roles": ["Helpdesk"]},
]


async def test_administrators_get_mail_once_each(
    ledger: Ledger, provision: Provision, hook: Receiver, box: Mailbox, clock: Clock
) -> None:
    await provision(notify=["mailto://carl@example.org", hook.url()], admin=ADMINS, language="zh-TW")
    await tell(ledger, zero(clock), zero(clock, event="call.low_credit"))
    meter = Meter()
    async with opened(ledger, clock, f"mailto://127.0.0.1:{box.port}?from=gate@example.org", meter) as notifier:
        await notifier.deliver()
    assert sorted(mail["To"] for mail in box.mails) == ["ann@example.org", "carl@example.org"]
    (mail, _) = box.mails
    assert mail["Subject"] == "The contoso：通訊點數已用完"
    assert "gate@example.org" in mail["From"]
    assert mail.get_content_type() == "text/plain"
    assert "-US$0.13" in str(mail.get_content())
    assert meter.counter(NOTICES).values == {("sent",): 4}
    assert [label for label, _, _ in await states(ledger) if "mail" in label] == [
        "mail to ann@example.org",
        "mail to carl@example.org",
    ]


async def test_without_a_mail_gateway_it_is_said_once(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    await provision(notify=[hook.url()], admin=ADMINS)
    await tell(ledger, zero(clock))
    with capture_logs() as logs:
        await notifier.deliver()
        await tell(ledger, zero(clock, "2"))
        await notifier.deliver()
    assert len([log for log in logs if "no mail gateway" in log["event"]]) == 1
    assert hook.events() == ["balance.zero"] * 2
    failed = [(label, state) for label, state, _ in await states(ledger) if "mail" in label]
    assert set(failed) == {("mail to ann@example.org", "failed"), ("mail to carl@example.org", "failed")}


async def test_a_message_that_cannot_be_made_holds_nobody_up(
    ledger: Ledger, provision: Provision, notifier: Notifier, hook: Receiver, clock: Clock
) -> None:
    """A notice of an event that this release does not know, and one whose text cannot be made."""
    await provision(notify=[hook.url()])
    await tell(ledger, zero(clock, event="of.later"), zero(clock))
    with capture_logs() as logs:
        await notifier.deliver()
    assert hook.events() == ["balance.zero"]
    assert any("unknown event" in log["event"] for log in logs)
    assert [each.due_ms for each in await told(ledger)] == [None, None]
