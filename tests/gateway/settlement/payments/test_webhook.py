"""The payment server of the customer's own: signed, with its key, and never taken for a decline without saying so."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.settlement.payments import Answer, ProviderAway, check_signature
from gateway.settlement.payments.webhook import Webhook

from .conftest import PATIENCE_S, Script, payment


@pytest.fixture
async def webhook(script: Script) -> AsyncIterator[Webhook]:
    provider = Webhook(script.url + "/pay", "shared", PATIENCE_S)
    yield provider
    await provider.close()


async def test_it_is_asked_by_a_signed_post_with_its_key(webhook: Webhook, script: Script) -> None:
    script.answer = lambda _heard: (200, {"status": "paid", "id": "bank-7"})
    assert await webhook.ask(payment()) == Answer("paid", "bank-7")
    (heard,) = script.heard
    assert (heard.method, heard.path, heard.headers["idempotency-key"]) == ("POST", "/pay", "recharge-1")
    check_signature("shared", heard.body, heard.headers["callgate-signature"], time.time())
    assert json.loads(heard.body) == {
        "key": "recharge-1", "tenant": "contoso", "amount": "200.000000", "currency": "USD", "customer": "cus_1",
        "payment_method": "pm_1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "said", "answer"),
    [
        (200, {"status": "declined", "why": "no money"}, Answer("declined", "", "no money")),
        (402, {"status": "declined"}, Answer("declined", "", "declined")),
        (402, b"", Answer("declined", "", "declined")),
        (202, {"status": "pending", "id": "p"}, Answer("pending", "p")),
        (403, b"", Answer("declined", "", "the payment server answers 403")),
    ],
)
async def test_what_it_says(webhook: Webhook, script: Script, status: int, said: Any, answer: Answer) -> None:
    script.answer = lambda _heard: (status, said)
    assert await webhook.ask(payment()) == answer


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, b"oops"), (503, {"status": "declined"}), (200, b"not json"), (200, {"status": "soon"}), (200, []),
     (409, {}), (429, b""), (302, b""), (0, b""), (200, {"status": "paid", "pad": "x" * 70_000})],
)  # fmt: skip
async def test_what_does_not_say_it_is_asked_again(webhook: Webhook, script: Script, status: int, said: Any) -> None:
    script.answer = lambda _heard: (status, said)
    with pytest.raises(ProviderAway):
        await webhook.ask(payment())


async def test_an_answer_that_comes_for_ever_is_left_in_time(webhook: Webhook, script: Script) -> None:
    """Each piece comes well before a reader's patience ends."""

    def drip() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(PATIENCE_S / 5)
            yield b" "

    script.answer = lambda _heard: (200, drip())
    with pytest.raises(ProviderAway, match="TimeoutError"):
        await webhook.ask(payment())


async def test_no_more_is_read_than_an_answer_may_have(webhook: Webhook, script: Script) -> None:
    written = []

    def flood() -> Iterator[bytes]:
        for _ in range(1_000):
            written.append(1)
            yield b" " * 65_536

    script.answer = lambda _heard: (200, flood())
    with pytest.raises(ProviderAway, match="200 and not"):
        await webhook.ask(payment())
    assert len(written) < 1_000


async def test_a_refusal_of_a_later_attempt_is_no_decline(webhook: Webhook, script: Script) -> None:
    script.answer = lambda _heard: (404, b"")
    with pytest.raises(ProviderAway, match="404"):
        await webhook.ask(payment(tries=1))


async def test_nobody_listens() -> None:
    provider = Webhook("http://127.0.0.1:9", "shared", PATIENCE_S)
    with pytest.raises(ProviderAway, match="does not answer"):
        await provider.ask(payment())
    await provider.close()
