"""A payment server of the customer's own, asked by a signed POST (gateway.settlement.signing).

The body is JSON: ``key``, ``tenant``, ``amount`` (a decimal string), ``currency``, ``customer``, ``payment_method``;
the key stands in ``Idempotency-Key`` too.  The answer is JSON with ``status`` ``paid``, ``declined`` or ``pending``,
and where it likes ``id`` and ``why``.  Asked again with the same key the server says what has become of the payment.
It may also say so by itself, by a signed POST to ``/api/v1/payments/KEY`` of the gate.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx

from gateway.ledger import Payment
from gateway.settlement.payments.protocol import Answer, ProviderAway
from gateway.settlement.signing import SIGNATURE, signature_of
from rating.money import format_amount

ANSWER_BYTES_MAX: Final = 65_536
"""More is no answer to a payment."""

PAYMENT_REQUIRED: Final = 402
"""A decline by itself, whatever the body says."""

LATER: Final = frozenset({408, 409, 425, 429})
"""Statuses of 4xx that say to ask again."""


@dataclass(frozen=True, slots=True)
class _Said:
    """An HTTP answer: its status and its body, of which no more is read than makes it too long."""

    status: int
    content: bytes


class Webhook:
    """Asks the server at ``url``; ``secret`` signs, ``timeout_s`` bounds one attempt, however slowly it is answered."""

    name = "webhook"

    def __init__(self, url: str, secret: str, timeout_s: float) -> None:
        self._url, self._secret, self._timeout_s = url, secret, timeout_s
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, payment: Payment) -> Answer:
        """POST the payment.  Raises ProviderAway where the answer does not say what became of it."""
        body = json.dumps(_request(payment)).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": payment.key,
            SIGNATURE: signature_of(self._secret, body, int(time.time())),
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                said = await self._post(body, headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderAway(f"the payment server does not answer: {type(error).__name__}") from error
        return _answer(said, first=payment.tries == 0)

    async def _post(self, body: bytes, headers: dict[str, str]) -> _Said:
        content = b""
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    break
        return _Said(response.status_code, content)


def _request(payment: Payment) -> dict[str, str]:
    return {
        "key": payment.key,
        "tenant": payment.tenant_id,
        "amount": format_amount(payment.amount_micros),
        "currency": payment.currency,
        "customer": payment.customer,
        "payment_method": payment.payment_method,
    }


def _answer(response: _Said, *, first: bool) -> Answer:
    """What an answer says.  A refusal of the request itself is a decline only at the first attempt: later ones may be
    refused although an earlier one was taken."""
    said, code = _fields(response.content), response.status
    status, refused = said.get("status"), 400 <= code < 500
    provider_id, why = str(said.get("id", "")), str(said.get("why", ""))
    if code == PAYMENT_REQUIRED or (refused and status == "declined"):
        return Answer("declined", provider_id, why or "declined")
    if 200 <= code < 300 and status in ("paid", "declined", "pending"):
        return Answer(status, provider_id, why)
    if refused and code not in LATER and first:
        return Answer("declined", provider_id, why or f"the payment server answers {code}")
    raise ProviderAway(f"the payment server answers {code} and not what became of the payment")


def _fields(content: bytes) -> dict[str, Any]:
    if len(content) > ANSWER_BYTES_MAX:
        return {}
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
