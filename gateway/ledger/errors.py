"""What can go wrong with the ledger, and whose fault it is.

Two families, because callers must treat them differently.  :class:`LedgerAway` means that the ledger could not be
reached or could not write (server gone, disk full, file locked): nothing was booked, the same request may be made
again later, and charges simply wait (MONEY 7).  :class:`LedgerRefused` means that the ledger is well and the request
is wrong: repeating it will not help.  Every text says what was wrong and what to do.
"""


class LedgerError(Exception):
    """Anything the ledger says no to.  ``hint`` is what to do about it, in one sentence; ``str()`` carries both."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what}; {hint}")
        self.what = what
        self.hint = hint


class LedgerAway(LedgerError):  # noqa: N818  a state of the ledger, nobody's mistake
    """The ledger cannot be reached or cannot write now: nothing was booked; try again later (HTTP 503)."""


class LedgerBehind(LedgerAway):
    """Its tables are older than this release, or not made yet: whoever starts the gate is about to bring them up."""


class Collided(LedgerAway):
    """Two transactions got in each other's way and the database took this one back: nothing was booked.

    Tried again at once by :meth:`gateway.ledger.engine.Database.transact`; seen outside only where that did not help.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"the ledger is busy ({what})", "try again; look for a long-running transaction if it stays")


class LedgerRefused(LedgerError):  # noqa: N818  its subclasses name what was refused
    """The request is wrong.  ``http_status`` is what the API answers, ``code`` names the reason where it has one."""

    http_status = 422
    code = ""


class UnknownTenant(LedgerRefused):
    """No such tenant in the ledger."""

    http_status = 404

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"there is no tenant {tenant_id!r}", "see `callgate provision` for how tenants are made")


class ReferenceConflict(LedgerRefused):
    """The reference was used before with another amount or kind (MONEY 9)."""

    http_status = 409

    def __init__(self, tenant_id: str, reference: str, booked: str, asked: str) -> None:
        super().__init__(
            f"reference {reference!r} of tenant {tenant_id!r} is already booked as {booked}, not as {asked}",
            "choose a new reference, or repeat the first amount and kind",
        )


class AmountRefused(LedgerRefused):
    """The amount is zero, too large, below the tenant's minimum, or negative where only an adjustment may be."""


class BelowMinimum(AmountRefused):
    """Less than the tenant's ``minimum_funding``; corrections may be of any amount."""

    code = "BELOW_MINIMUM_FUNDING"


class RegionMismatch(LedgerRefused):
    """The tenant's billing address is in another country than the tenant: no money is taken from it (DOMAIN 7)."""

    http_status = 409
    code = "REGION_MISMATCH"


class UnknownPayment(LedgerRefused):
    """No payment has this key."""

    http_status = 404

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no payment {key!r}", "see `callgate recharge` for a tenant's payments")


class NotEnoughAvailable(LedgerRefused):
    """Money out is bounded by what is available: balance less what live calls hold (MONEY 4)."""


class ProvisioningRefused(LedgerRefused):
    """The provisioning document or a rate deck contradicts itself or the ledger; nothing of it was applied."""


class PartitionsFixed(LedgerRefused):
    """The number of partitions is fixed at first start (MONEY 3) and another one was asked for."""


class RebuildHeld(LedgerRefused):
    """Another process rebuilds Redis now, or has taken over from this one (MONEY 6): look again in a moment."""

    http_status = 503


class EpochPassed(LedgerRefused):
    """A rebuild of Redis has begun since these entries were read there: read them again (MONEY 6)."""

    http_status = 503


class Unbookable(LedgerRefused):
    """An outbox entry that can never be booked as it is (poison): it is set aside, what stands behind it is booked."""
