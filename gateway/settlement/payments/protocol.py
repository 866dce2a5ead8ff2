"""What a payment provider is: asked for a payment by its key, as often as need be, it says what has become of it.

The same key is the same payment: a provider that took it once says so again and takes nothing more.  So whoever asks
may die at any moment, and asks again.  What nobody knows is never taken for a decline, or the next payment, under a
key of its own, might be a second one.
"""

from dataclasses import dataclass
from typing import Protocol

from gateway.ledger import Payment, PaymentState


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a payment.  ``provider_id`` is the provider's own name of it, ``why`` what it said, for people."""

    state: PaymentState
    provider_id: str = ""
    why: str = ""


class ProviderAway(Exception):  # noqa: N818  nobody's mistake, and nothing is known of the payment
    """No answer, or none that says what became of the payment: ask again with the same key."""


class Provider(Protocol):
    """A payment service.  ``name`` is its word in ``payments.provider``."""

    name: str

    async def ask(self, payment: Payment) -> Answer:
        """Ask for the payment, or what has become of it.  Raises ProviderAway."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...
