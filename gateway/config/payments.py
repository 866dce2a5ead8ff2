"""Who is asked for money when a balance falls below its trigger, how, and how often.

What each provider is and does stands in gateway.settlement.payments; here is only what an operator sets.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, SecretStr

from gateway.config.salvage import Conflict, told
from gateway.config.values import Number, Secret, Table, Text, Whole


class PaymentsSettings(Table):
    """Who is asked for money."""

    provider: Literal["manual", "simulated", "webhook", "stripe"] = Field(
        default="manual", description="manual asks by notification; simulated always pays"
    )
    url: Text = Field(
        default="", description="webhook: where payments are asked for; stripe: its API, empty for Stripe's own"
    )
    secret: Secret = Field(
        default=SecretStr(""),
        description="webhook: what signs messages both ways; stripe: the secret key; or env:NAME or file:PATH",
    )
    timeout_s: Number = Field(default=20, gt=0, le=300, description="how long one attempt may take")
    recharges_per_hour: Whole = Field(default=3, ge=1, le=1000, description="most recharges asked for, of one tenant")
    recharges_per_day: Whole = Field(default=10, ge=1, le=1000, description="the same for 24 hours")


def payment_conflicts(payments: PaymentsSettings) -> Iterator[Conflict]:
    """Keys of payments that are right by themselves and wrong together."""
    yield from told(_payments_url(payments), _payments_secret(payments))


def _payments_url(payments: PaymentsSettings) -> Iterator[Conflict]:
    if payments.provider == "webhook" and not payments.url:
        yield "payments.url", "", "expected the http:// or https:// URL of your payment server"
    if payments.url and not payments.url.startswith(("http://", "https://")):
        yield "payments.url", "", "expected a URL that starts with http:// or https://"


def _payments_secret(payments: PaymentsSettings) -> Iterator[Conflict]:
    if payments.provider in ("webhook", "stripe") and not payments.secret.get_secret_value():
        yield "payments.secret", "", f'needed with provider = "{payments.provider}", best as env:NAME or file:PATH'
