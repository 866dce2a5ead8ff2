"""What a payment server says by itself must be about this payment, all of it."""

import json
from typing import Any

import pytest

from gateway.settlement.payments import Answer, NotConfirmed, read_confirmation

from .conftest import payment

SAID = {"key": "recharge-1", "amount": "200.00", "currency": "USD", "status": "paid", "id": "bank-7"}


def test_it_says_what_became_of_the_payment() -> None:
    assert read_confirmation(payment(), json.dumps(SAID).encode()) == Answer("paid", "bank-7")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"key": "recharge-2"}, "key"), ({"amount": "199.99"}, "amount"), ({"amount": 200}, "amount"),
     ({"amount": "lots"}, "amount"), ({"currency": "EUR"}, "currency"), ({"status": "soon"}, "status"),
     ({"status": None}, "status")],
)  # fmt: skip
def test_anything_else_books_nothing(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(NotConfirmed, match=why):
        read_confirmation(payment(), json.dumps(SAID | wrong).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"paid"])
def test_a_body_that_is_no_document(body: bytes) -> None:
    with pytest.raises(NotConfirmed, match="JSON object"):
        read_confirmation(payment(), body)
