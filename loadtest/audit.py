"""The audit: the equation of MONEY 1, to the micro, from what the gate tells about itself.

fundings + recharges + refunds ± adjustments − expiries − write-offs = balance + charged, and charged = booked + still
in the outbox.  What is booked stands in the postings; what is still in the outbox is the ledger's balance minus the
balance, since only charges are on the way in that direction once the money of a run is in.  The postings' running
balance is added up again here, so that a posting changed, lost or doubled shows.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from rating.money import format_amount, parse_amount

MAX_ANSWER: Final = 512 * 1024 * 1024
"""Octets of one document read from the gate: a million postings are below half of it."""

MAX_TENANTS: Final = 10_000
TIMEOUT_S: Final = 30.0
SETTLED_WITHIN_S: Final = 30.0
"""How long the audit waits for the outbox to be booked and reservations to be gone after the last call."""

CHARGE: Final = "charge"


class AuditError(Exception):
    """The audit could not be made; the message says what to do."""


class Books(Protocol):
    """Where an audit reads: the documents of CONTRACT 2 by tenant."""

    def tenants(self) -> Iterable[str]:
        """Every tenant's id."""

    def balance(self, tenant: str) -> dict[str, Any]:
        """The document of ``callgate balance``."""

    def ledger(self, tenant: str) -> list[dict[str, Any]]:
        """The postings of ``callgate ledger``, oldest first."""

    def reconcile(self) -> dict[str, Any]:
        """The document of ``callgate reconcile``."""


@dataclass(slots=True)
class TenantAudit:
    """One tenant's equation; amounts are decimal strings in its currency, ``faults`` is empty where it holds."""

    tenant: str
    currency: str
    money_in: str
    booked: str
    in_outbox: str
    balance: str
    held: str
    difference: str
    charges: int
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Audit:
    """The audit of all tenants; it ``holds`` where no tenant has a fault and the gate finds no drift itself."""

    tenants: list[TenantAudit]
    drift_micros: int
    faults: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every equation holds to the micro."""
        return not self.faults and not self.drift_micros and not any(tenant.faults for tenant in self.tenants)

    def document(self) -> dict[str, Any]:
        """The audit as JSON."""
        return {"holds": self.holds, **asdict(self)}


def audit(books: Books, *, settled_within_s: float = SETTLED_WITHIN_S, pause_s: float = 0.5) -> Audit:
    """Check every tenant's equation; waits for the last charges to be booked, at most ``settled_within_s`` seconds.

    Raises :class:`AuditError` where the gate does not answer or answers something else than its documents.
    """
    give_up_s = time.monotonic() + settled_within_s
    while True:
        found = _once(books)
        settled = all(not _micros(tenant.in_outbox) and not _micros(tenant.held) for tenant in found.tenants)
        if (settled and found.holds) or time.monotonic() >= give_up_s:
            break
        time.sleep(pause_s)
    for tenant in found.tenants:
        if _micros(tenant.held):
            tenant.faults.append(f"{tenant.held} is still held though no call of this run is up")
        if _micros(tenant.in_outbox):
            tenant.faults.append(f"the ledger and the balance still differ by {tenant.in_outbox}")
    return found


def _once(books: Books) -> Audit:
    try:
        tenants = [audit_tenant(tenant, books.balance(tenant), books.ledger(tenant)) for tenant in books.tenants()]
        drift = int(books.reconcile()["drift_micros"])
    except (KeyError, TypeError, ValueError) as error:
        raise AuditError(f"the gate's answer is not the document expected: {type(error).__name__} {error}") from error
    faults = [f"the gate itself reports a drift of {drift} micros"] if drift else []
    return Audit(tenants, drift, faults)


def audit_tenant(tenant: str, balance: dict[str, Any], postings: list[dict[str, Any]]) -> TenantAudit:
    """One tenant's equation from its balance document and all of its postings, oldest first.

    Raises KeyError, TypeError or ValueError where a document lacks what is needed.
    """
    faults = list(_chain_faults(postings))
    charges = [posting for posting in postings if posting["kind"] == CHARGE]
    booked = -sum(parse_amount(posting["amount"]) for posting in charges)
    money_in = sum(parse_amount(posting["amount"]) for posting in postings) + booked
    now = parse_amount(balance["balance"])
    in_outbox = parse_amount(balance["ledger_balance"]) - now
    difference = money_in - (now + booked + in_outbox)
    if difference:
        faults.append(f"money in differs from balance and charges by {format_amount(difference)}")
    calls = [posting["call_id"] for posting in charges]
    if len(set(calls)) != len(calls):
        faults.append(f"{len(calls) - len(set(calls))} calls were charged more than once")
    return TenantAudit(
        tenant=tenant,
        currency=str(balance["currency"]),
        money_in=format_amount(money_in),
        booked=format_amount(booked),
        in_outbox=format_amount(in_outbox),
        balance=format_amount(now),
        held=format_amount(parse_amount(balance["held"])),
        difference=format_amount(difference),
        charges=len(charges),
        faults=faults,
    )


def _chain_faults(postings: list[dict[str, Any]]) -> Iterable[str]:
    """Each posting's running balance must be that of the one before plus its amount."""
    running = 0
    for posting in postings:
        running += parse_amount(posting["amount"])
        if parse_amount(posting["balance"]) != running:
            yield f"posting {posting['id']}: {posting['balance']}, but amounts add up to {format_amount(running)}"
            return


def _micros(amount: str) -> int:
    return parse_amount(amount)


class HttpBooks:
    """The documents from the gate's HTTP API (CONTRACT 7), with the bearer token."""

    def __init__(self, url: str, token: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise AuditError(f"--admin {url!r} is not an http:// or https:// URL")
        self._base = url.rstrip("/") + "/api/v1/"
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def tenants(self) -> Iterable[str]:
        """Ids of ``GET tenants``, which lists documents with an ``id``."""
        return [str(tenant["id"]) for tenant in _rows(self._get("tenants"), "tenants")[:MAX_TENANTS]]

    def balance(self, tenant: str) -> dict[str, Any]:
        """``GET tenants/{id}/balance``."""
        return _document(self._get(f"tenants/{_quoted(tenant)}/balance"))

    def ledger(self, tenant: str) -> list[dict[str, Any]]:
        """``GET tenants/{id}/ledger``."""
        return _rows(self._get(f"tenants/{_quoted(tenant)}/ledger"), "postings")

    def reconcile(self) -> dict[str, Any]:
        """``GET reconcile``."""
        return _document(self._get("reconcile"))

    def _get(self, path: str) -> Any:
        asked = urllib.request.Request(self._base + path, headers=self._headers)  # noqa: S310 (http or https only)
        try:
            with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return json.loads(answer.read(MAX_ANSWER))
        except urllib.error.HTTPError as error:
            hint = "; check --token" if error.code in (401, 403) else ""
            raise AuditError(f"GET {self._base}{path}: HTTP {error.code}{hint}") from error
        except (OSError, ValueError) as error:
            raise AuditError(f"GET {self._base}{path}: {error}; check --admin") from error


def _quoted(tenant: str) -> str:
    return urllib.parse.quote(tenant, safe="")


def _document(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise TypeError(f"expected an object, found {type(found).__name__}")
    return found


def _rows(found: Any, name: str) -> list[dict[str, Any]]:
    rows = found[name] if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise TypeError(f"expected a list of {name}")
    return rows
