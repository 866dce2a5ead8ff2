"""A provider that always pays at once: for demonstrations, and for trying out recharge settings."""

from gateway.ledger import Payment
from gateway.settlement.payments.protocol import Answer


class Simulated:
    """Pays whatever it is asked for."""

    name = "simulated"

    async def ask(self, payment: Payment) -> Answer:
        """Paid."""
        return Answer("paid", f"simulated-{payment.key}")

    async def close(self) -> None:
        """Nothing is open."""
