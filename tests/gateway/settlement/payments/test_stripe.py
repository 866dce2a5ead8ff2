"""Stripe's own library against a server that plays Stripe: paid, declined, unknown, looked for, and never twice."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.settlement.payments import Answer, ProviderAway
from gateway.settlement.payments.stripe import LOST_MS, METADATA_KEY, Stripe, minor_units

from .conftest import PATIENCE_S, Heard, Script, payment


class PlayedStripe:
    """PaymentIntents by idempotency key, as Stripe keeps them; ``fail`` is what comes of the next requests instead."""

    def __init__(self) -> None:
        self.intents: dict[str, dict[str, Any]] = {}
        self.status = "succeeded"
        self.fail: list[tuple[int, Any]] = []
        self.fail_after: list[tuple[int, Any]] = []

    def __call__(self, heard: Heard) -> tuple[int, Any]:
        if self.fail:
            return self.fail.pop(0)
        answer = self._create(heard) if heard.method == "POST" else self._look(heard)
        return self.fail_after.pop(0) if self.fail_after else answer

    def _create(self, heard: Heard) -> tuple[int, Any]:
        assert heard.path == "/v1/payment_intents"
        given = {name: values[0] for name, values in parse_qs(heard.body.decode()).items()}
        key = heard.headers["idempotency-key"]
        if key not in self.intents:
            number = len(self.intents) + 1
            self.intents[key] = {
                "id": f"pi_{number}", "object": "payment_intent", "status": self.status, "given": given,
                "amount": int(given["amount"]), "currency": given["currency"], "last_payment_error": None,
                "metadata": {METADATA_KEY: given[f"metadata[{METADATA_KEY}]"]},
            }  # fmt: skip
        return 200, self.intents[key]

    def _look(self, heard: Heard) -> tuple[int, Any]:
        parts = urlsplit(heard.path)
        if parts.path == "/v1/payment_intents":
            assert parse_qs(parts.query)["customer"] == ["cus_1"]
            return 200, {"object": "list", "url": parts.path, "has_more": False, "data": list(self.intents.values())}
        wanted = parts.path.rpartition("/")[2]
        return 200, next(each for each in self.intents.values() if each["id"] == wanted)


def error(kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "because", **more}}


@pytest.fixture
def played(script: Script) -> PlayedStripe:
    script.answer = played = PlayedStripe()
    return played


@pytest.fixture
async def stripe(script: Script, played: PlayedStripe) -> AsyncIterator[Stripe]:
    provider = Stripe("sk_test_xyzzy", script.url, PATIENCE_S)
    yield provider
    await provider.close()


async def test_an_off_session_payment_under_our_key(stripe: Stripe, script: Script, played: PlayedStripe) -> None:
    assert await stripe.ask(payment()) == Answer("paid", "pi_1")
    given = played.intents["recharge-1"]["given"]
    assert (given["amount"], given["currency"], given["customer"], given["payment_method"]) == (
        "20000", "usd", "cus_1", "pm_1"
    )  # fmt: skip
    assert (given["off_session"], given["confirm"], given["error_on_requires_action"]) == ("true",) * 3
    assert script.heard[0].headers["authorization"] == "Bearer sk_test_xyzzy"


async def test_asked_again_it_is_the_same_payment(stripe: Stripe, played: PlayedStripe) -> None:
    assert [await stripe.ask(payment()) for _ in range(3)] == [Answer("paid", "pi_1")] * 3
    assert len(played.intents) == 1


async def test_a_card_that_is_declined(stripe: Stripe, played: PlayedStripe) -> None:
    intent = {"id": "pi_9", "object": "payment_intent", "status": "requires_payment_method"}
    played.fail = [(402, error("card_error", code="card_declined", payment_intent=intent))]
    assert await stripe.ask(payment()) == Answer("declined", "pi_9", "because")


@pytest.mark.parametrize(
    ("status", "state"),
    [("processing", "pending"), ("canceled", "declined"), ("requires_action", "declined"), ("brand_new", "pending")],
)
async def test_what_a_status_is_to_us(stripe: Stripe, played: PlayedStripe, status: str, state: str) -> None:
    played.status = status
    assert await stripe.ask(payment()) == Answer(state, "pi_1", status)  # type: ignore[arg-type]


async def test_a_pending_payment_is_looked_up_by_its_id(stripe: Stripe, played: PlayedStripe) -> None:
    played.status = "processing"
    assert (await stripe.ask(payment())).state == "pending"
    played.intents["recharge-1"]["status"] = "succeeded"
    assert await stripe.ask(payment(provider_id="pi_1", tries=1)) == Answer("paid", "pi_1")


@pytest.mark.parametrize("failure", [(500, error("api_error")), (503, b"busy"), (0, b""), (429, error("rate_limit"))])
async def test_what_nobody_knows_is_looked_for_before_it_is_asked_for_again(
    stripe: Stripe, script: Script, played: PlayedStripe, failure: tuple[int, Any]
) -> None:
    """Stripe took it, and the answer was lost."""
    played.fail_after = [failure]
    with pytest.raises(ProviderAway):
        await stripe.ask(payment())
    assert await stripe.ask(payment(tries=1)) == Answer("paid", "pi_1")
    assert [heard.method for heard in script.heard] == ["POST", "GET"]


async def test_what_it_never_got_is_asked_for_again(stripe: Stripe, script: Script, played: PlayedStripe) -> None:
    played.fail = [(500, error("api_error"))]
    with pytest.raises(ProviderAway):
        await stripe.ask(payment())
    assert await stripe.ask(payment(tries=1)) == Answer("paid", "pi_1")
    assert [heard.method for heard in script.heard] == ["POST", "GET", "POST"]


async def test_once_stripe_may_have_forgotten_the_key_it_is_not_asked_for_any_more(
    stripe: Stripe, script: Script, played: PlayedStripe
) -> None:
    old_ms = time.time_ns() // 1_000_000 - LOST_MS - 1000
    answer = await stripe.ask(payment(asked_ms=old_ms, tries=30))
    assert (answer.state, [heard.method for heard in script.heard]) == ("declined", ["GET"])
    played.intents["recharge-1"] = {
        "id": "pi_1", "object": "payment_intent", "status": "succeeded", "metadata": {METADATA_KEY: "recharge-1"},
        "last_payment_error": None,
    }  # fmt: skip
    assert await stripe.ask(payment(asked_ms=old_ms, tries=0)) == Answer("paid", "pi_1")


@pytest.mark.parametrize("failure", [(401, error("invalid_request_error")), (400, error("invalid_request_error"))])
async def test_a_request_that_stripe_refuses(stripe: Stripe, played: PlayedStripe, failure: tuple[int, Any]) -> None:
    played.fail = [failure, failure]
    answer = await stripe.ask(payment())
    assert (answer.state, "because" in answer.why or "Error" in answer.why) == ("declined", True)
    with pytest.raises(ProviderAway):
        await stripe.ask(payment(tries=1))


@pytest.mark.parametrize(
    ("micros", "currency", "units"),
    [(200_000_000, "USD", 20_000), (200_000_000, "JPY", 200), (1_230_000, "KWD", 1_230), (5_000, "USD", None),
     (1_500_000, "JPY", None)],
)  # fmt: skip
def test_amounts_in_stripes_units(micros: int, currency: str, units: int | None) -> None:
    assert minor_units(micros, currency) == units


async def test_an_amount_without_such_a_unit_is_declined_unasked(stripe: Stripe, script: Script) -> None:
    assert (await stripe.ask(payment(amount_micros=1_500_000, currency="JPY"))).state == "declined"
    assert script.heard == []
