"""Who is asked for money when an account recharges itself, behind one small protocol.

``manual`` is nobody: a notice asks people for it.  ``simulated`` always pays.  ``webhook`` is a server of the
customer's own, ``stripe`` the payment service of that name.
"""

from gateway.config.payments import PaymentsSettings
from gateway.settlement.payments.confirmation import NotConfirmed, read_confirmation
from gateway.settlement.payments.protocol import Answer, Provider, ProviderAway
from gateway.settlement.signing import SIGNATURE, BadSignature, check_signature, signature_of

__all__ = [
    "SIGNATURE",
    "Answer",
    "BadSignature",
    "NotConfirmed",
    "Provider",
    "ProviderAway",
    "check_signature",
    "provider_of",
    "read_confirmation",
    "signature_of",
]


def provider_of(settings: PaymentsSettings) -> Provider | None:
    """The provider of ``[payments]``; None where money is asked for by notice.  Opens nothing yet."""
    if settings.provider == "manual":
        return None
    if settings.provider == "simulated":
        from gateway.settlement.payments.simulated import Simulated

        return Simulated()
    if settings.provider == "webhook":
        from gateway.settlement.payments.webhook import Webhook

        return Webhook(settings.url, settings.secret.get_secret_value(), settings.timeout_s)
    from gateway.settlement.payments.stripe import Stripe  # a second's worth of imports that only its users need

    return Stripe(settings.secret.get_secret_value(), settings.url, settings.timeout_s)
