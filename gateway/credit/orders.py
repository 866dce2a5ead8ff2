"""What processes tell a worker through its stream in Redis (SIP.md 2): hang up, funded, directory changed, booked.

An order is one stream entry of two fields, ``order`` and ``value``; unknown orders of a newer gate are skipped.
Orders may arrive twice (after a restart the worker reads from the start of its stream), so each must be harmless
when repeated.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HangUp:
    """End a live call; it is charged for what was used."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Funded:
    """Money has arrived for a tenant: ticks that were refused are asked for again (MONEY 2)."""

    tenant_id: str


@dataclass(frozen=True, slots=True)
class DirectoryChanged:
    """A newer directory version is in the ledger."""

    version: int


@dataclass(frozen=True, slots=True)
class Booked:
    """These charges stand in the ledger: the worker need not keep them any longer (MONEY 6)."""

    call_ids: tuple[str, ...]


Order = HangUp | Funded | DirectoryChanged | Booked


def encode_order(order: Order) -> dict[str, str]:
    """The stream entry of an order."""
    match order:
        case HangUp(call_id):
            return {"order": "hang_up", "value": call_id}
        case Funded(tenant_id):
            return {"order": "funded", "value": tenant_id}
        case DirectoryChanged(version):
            return {"order": "directory_changed", "value": str(version)}
        case Booked(call_ids):
            return {"order": "booked", "value": " ".join(call_ids)}


def decode_order(entry: dict[str, str]) -> Order | None:
    """The order in a stream entry; None for one that this version does not know."""
    value = entry.get("value", "")
    match entry.get("order"):
        case "hang_up":
            return HangUp(value)
        case "funded":
            return Funded(value)
        case "directory_changed" if value.isdecimal():
            return DirectoryChanged(int(value))
        case "booked":
            return Booked(tuple(value.split()))
    return None
