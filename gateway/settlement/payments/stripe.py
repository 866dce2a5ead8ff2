"""Stripe, by its own library: an off-session PaymentIntent, confirmed at once, under our key as idempotency key.

Stripe remembers a key for at least 24 hours, a failure of its own included (https://docs.stripe.com/api/
idempotent_requests), so a payment that nobody knows of is looked for by its key in the metadata of the customer's
PaymentIntents before it is asked for again, and after LOST_MS it is not asked for any more: what is not there then has
never been taken.

The library's own asynchronous client warns of itself (it uses httpx in a way that goes), so calls run on threads.
"""

import asyncio
from typing import Final

import stripe
from stripe import PaymentIntent, RequestsClient, StripeClient
from stripe.params import PaymentIntentCreateParams

from gateway.ledger import Payment, PaymentState
from gateway.ledger.ledger import unix_ms
from gateway.settlement.payments.protocol import Answer, ProviderAway

METADATA_KEY: Final = "callgate_key"

LOST_MS: Final = 23 * 3_600_000
"""Before Stripe may forget the key."""

LOOK_BACK_S: Final = 600
"""Clocks apart: PaymentIntents are looked for from so long before the payment was asked for."""

LOOKED_AT_MAX: Final = 500
"""PaymentIntents of one customer since then; recharges are limited to a few a day."""

ZERO_DECIMAL: Final = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
"""Currencies that Stripe counts in whole units (https://docs.stripe.com/currencies#zero-decimal)."""

THREE_DECIMAL: Final = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
"""Currencies that it counts in thousandths, the last digit always 0 (https://docs.stripe.com/currencies)."""

STATES: Final[dict[str, PaymentState]] = {
    "succeeded": "paid",
    "processing": "pending",
    "requires_capture": "pending",
    "requires_action": "declined",
    "requires_confirmation": "declined",
    "requires_payment_method": "declined",
    "canceled": "declined",
}
"""What a PaymentIntent's status is to us: one that wants its customer has failed, since nobody is there."""


class Stripe:
    """Asks Stripe with the secret key ``api_key``; ``base_url`` empty: Stripe's own."""

    name = "stripe"

    def __init__(self, api_key: str, base_url: str, timeout_s: float) -> None:
        self._http = RequestsClient(timeout=timeout_s)
        self._client = StripeClient(
            api_key,
            base_addresses={"api": base_url or stripe.DEFAULT_API_BASE},
            http_client=self._http,
            max_network_retries=0,  # the ledger says when the next attempt is
        )

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._http.close)

    async def ask(self, payment: Payment) -> Answer:
        """Ask for the payment, or look for it where it was asked for before.  Raises ProviderAway."""
        units = minor_units(payment.amount_micros, payment.currency)
        if units is None:
            return Answer("declined", why=f"{payment.currency} has no unit as small as that of recharge.amount")
        try:
            return await asyncio.to_thread(self._ask, payment, units)
        except stripe.CardError as error:
            return Answer("declined", _intent_id(error), error.user_message or error.code or "the card was declined")
        except (stripe.AuthenticationError, stripe.PermissionError, stripe.InvalidRequestError) as error:
            if payment.tries:  # an earlier attempt may have been taken
                raise ProviderAway(f"Stripe refuses to say: {type(error).__name__}") from error
            return Answer("declined", why=f"Stripe refuses the request: {error.user_message or type(error).__name__}")
        except stripe.StripeError as error:
            raise ProviderAway(f"Stripe does not say what became of it: {type(error).__name__}") from error

    def _ask(self, payment: Payment, units: int) -> Answer:
        found = self._find(payment)
        if found is not None:
            return _answer(found)
        if _is_old(payment):
            return Answer("declined", why="Stripe does not know of the payment")
        return _answer(self._create(payment, units))

    def _find(self, payment: Payment) -> PaymentIntent | None:
        """The PaymentIntent of a payment that was asked for before, if there is one."""
        if payment.provider_id:
            return self._client.v1.payment_intents.retrieve(payment.provider_id)
        if not (payment.tries or _is_old(payment)) or not payment.customer:
            return None
        since_s = payment.asked_ms // 1000 - LOOK_BACK_S
        page = self._client.v1.payment_intents.list(
            {"customer": payment.customer, "created": {"gte": since_s}, "limit": 100}
        )
        for number, each in enumerate(page.auto_paging_iter(), 1):
            if each.metadata and getattr(each.metadata, METADATA_KEY, None) == payment.key:
                return each
            if number >= LOOKED_AT_MAX:
                raise ProviderAway("too many PaymentIntents of this customer to look through")
        return None

    def _create(self, payment: Payment, units: int) -> PaymentIntent:
        asked: PaymentIntentCreateParams = {
            "amount": units,
            "currency": payment.currency.lower(),
            "customer": payment.customer,
            "payment_method": payment.payment_method,
            "off_session": True,
            "confirm": True,
            "error_on_requires_action": True,
            "description": f"Recharge of {payment.tenant_id}",
            "metadata": {METADATA_KEY: payment.key, "tenant": payment.tenant_id},
        }
        return self._client.v1.payment_intents.create(asked, {"idempotency_key": payment.key})


def minor_units(amount_micros: int, currency: str) -> int | None:
    """An amount in the unit that Stripe counts ``currency`` in; None where it is not a whole number of them."""
    micros_each = 1_000_000 if currency in ZERO_DECIMAL else 10_000
    units, rest = divmod(amount_micros, micros_each)
    if rest:
        return None
    return units * 10 if currency in THREE_DECIMAL else units


def _is_old(payment: Payment) -> bool:
    return unix_ms() - payment.asked_ms > LOST_MS


def _answer(intent: PaymentIntent) -> Answer:
    failure = intent.last_payment_error
    why = "" if failure is None else failure.message or failure.code or ""
    state = STATES.get(intent.status, "pending")
    return Answer(state, intent.id, why or ("" if state == "paid" else intent.status))


def _intent_id(error: stripe.CardError) -> str:
    intent = error.error.payment_intent if error.error else None
    return intent.id if intent else ""
