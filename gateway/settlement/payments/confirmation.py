"""What a payment server says by itself of a payment: a signed POST, the same JSON as its answers.

``key``, ``amount`` and ``currency`` must be those of the payment, so that a message about another one, or about part
of the money, books nothing.
"""

import json
from typing import Any

from gateway.ledger import Payment
from gateway.settlement.payments.protocol import Answer
from rating.money import MoneyError, parse_amount


class NotConfirmed(Exception):  # noqa: N818  says what is wrong with the message of somebody else
    """The message does not say what became of this payment; the text says why."""


def read_confirmation(payment: Payment, body: bytes) -> Answer:
    """What a signed message says of ``payment``.  Raises NotConfirmed."""
    said = _read(body)
    if said.get("key") != payment.key:
        raise NotConfirmed("key: expected the key of the payment, as in the path")
    if _micros(said.get("amount")) != payment.amount_micros or said.get("currency") != payment.currency:
        raise NotConfirmed("amount, currency: expected those that were asked for")
    status = said.get("status")
    if status not in ("paid", "declined", "pending"):
        raise NotConfirmed("status: expected paid, declined or pending")
    return Answer(status, str(said.get("id", "")), str(said.get("why", "")))


def _read(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise NotConfirmed("expected a JSON object")
    return said


def _micros(amount: object) -> int | None:
    try:
        return parse_amount(amount) if isinstance(amount, str) else None
    except MoneyError:
        return None
