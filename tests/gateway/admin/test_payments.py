"""What a payment server says by itself: signed, about one payment, booked once; lots and recharges are shown."""

import asyncio
import http.client
import json
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import provisioning
from gateway.ledger import Payment
from gateway.settlement.payments import SIGNATURE, signature_of
from policy.recharge import RechargeLimits

from .conftest import Answer, World, open_world

PAYMENTS = """
[payments]
provider = "webhook"
url = "http://127.0.0.1:9/pay"
secret = "shared"
"""
TENANT = """
[[tenant]]
id = "contoso"
rate_deck = "standard"
recharge = { enabled = true, trigger = "50", amount = "200" }
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path, PAYMENTS) as opened:
        await opened.ledger.provision(provisioning.parse(tomllib.loads(TENANT), "tenants.toml", tmp_path))
        yield opened


@pytest.fixture
async def payment(world: World) -> Payment:
    begun = await world.ledger.begin_payment("contoso", 0, 0, "webhook", RechargeLimits())
    assert begun is not None
    return begun


def said(payment: Payment, **more: Any) -> bytes:
    known = {"key": payment.key, "amount": "200.00", "currency": "USD", "status": "paid", "id": "bank-7"}
    return json.dumps(known | more).encode()


async def confirm(world: World, key: str, body: bytes, signature: str) -> Answer:
    def post() -> Answer:
        link = http.client.HTTPConnection("127.0.0.1", world.port, timeout=20)
        link.request("POST", f"/api/v1/payments/{key}", body, {SIGNATURE: signature})
        answer = link.getresponse()
        found = Answer(answer.status, dict(answer.getheaders()), json.loads(answer.read()))
        link.close()
        return found

    return await asyncio.to_thread(post)


def signed(body: bytes, ago_s: int = 0) -> str:
    return signature_of("shared", body, int(time.time()) - ago_s)


async def test_a_signed_message_books_the_payment_once(world: World, payment: Payment) -> None:
    body = said(payment)
    first = await confirm(world, payment.key, body, signed(body))
    assert (first.status, first.body["state"], first.body["provider_id"]) == (200, "paid", "bank-7")
    again = await confirm(world, payment.key, body, signed(body))
    assert again.body == first.body
    assert await world.ledger.balance("contoso") == 200_000_000
    assert (await world.credit.account("contoso")).balance_micros == 200_000_000
    shown = (await world.ask("GET", "/api/v1/tenants/contoso/recharge")).body
    assert (shown["state"], [each["key"] for each in shown["payments"]]) == ("idle", [payment.key])
    (lot,) = (await world.ask("GET", "/api/v1/tenants/contoso/lots")).body
    assert (lot["source"], lot["remaining"], lot["reference"]) == ("auto", "200.000000", payment.key)


async def test_a_decline_is_said_and_a_late_payment_is_not_lost(world: World, payment: Payment) -> None:
    body = said(payment, status="declined", why="no money")
    answer = await confirm(world, payment.key, body, signed(body))
    assert (answer.body["state"], answer.body["why"]) == ("declined", "no money")
    body = said(payment)
    assert (await confirm(world, payment.key, body, signed(body))).body["state"] == "paid"
    assert await world.ledger.balance("contoso") == 200_000_000


async def test_an_old_or_unsigned_or_changed_message_books_nothing(world: World, payment: Payment) -> None:
    body = said(payment)
    for signature in ("", signed(body, ago_s=301), signature_of("other", body, int(time.time()))):
        assert (await confirm(world, payment.key, body, signature)).status == 401
    assert (await confirm(world, payment.key, said(payment, amount="1.00"), signed(body))).status == 401
    assert await world.ledger.balance("contoso") == 0


async def test_a_message_about_something_else_books_nothing(world: World, payment: Payment) -> None:
    for more in ({"amount": "1.00"}, {"currency": "EUR"}, {"key": "recharge-x"}, {"status": "soon"}):
        body = said(payment, **more)
        assert (await confirm(world, payment.key, body, signed(body))).status == 422
    body = said(payment)
    assert (await confirm(world, "recharge-x", body, signed(body))).status == 404
    body = b"x" * 70_000
    assert (await confirm(world, payment.key, body, signed(body))).status == 413
    assert await world.ledger.balance("contoso") == 0


async def test_with_another_provider_nobody_confirms(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        body = b"{}"
        answer = await confirm(world, "recharge-x", body, signature_of("", body, int(time.time())))
        assert (answer.status, "webhook" in answer.body["detail"]) == (404, True)
