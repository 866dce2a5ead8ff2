"""The audit against books that are right, and against each way in which books can be wrong."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.audit import AuditError, HttpBooks, audit, audit_tenant
from rating.money import format_amount

BALANCE = {
    "tenant": "contoso", "currency": "USD", "mode": "prepaid", "balance": "6.500000", "held": "0.000000",
    "available": "6.500000", "ledger_balance": "6.500000", "unsynced": "0.000000", "pools": [], "exhausted": False,
}  # fmt: skip


def posting(number: int, kind: str, amount: str, balance: str, call: str = "") -> dict[str, Any]:
    return {
        "id": str(number), "at": "2026-01-01T00:00:00Z", "kind": kind, "amount": amount, "balance": balance,
        "reference": "", "call_id": call,
    }  # fmt: skip


POSTINGS = [
    posting(1, "manual", "10.000000", "10.000000"),
    posting(2, "charge", "-3.000000", "7.000000", "a"),
    posting(3, "charge", "-0.500000", "6.500000", "b"),
]


class Shelf:
    """Books held in memory."""

    def __init__(self, balance: dict[str, Any], postings: list[dict[str, Any]], drift: int = 0) -> None:
        self._balance, self._postings, self._drift = balance, postings, drift

    def tenants(self) -> list[str]:
        return ["contoso"]

    def balance(self, tenant: str) -> dict[str, Any]:
        return self._balance

    def ledger(self, tenant: str) -> list[dict[str, Any]]:
        return self._postings

    def reconcile(self) -> dict[str, Any]:
        return {"drift_micros": self._drift}


def once(books: Shelf) -> list[str]:
    found = audit(books, settled_within_s=0.0)
    assert found.holds is (not found.faults and not any(tenant.faults for tenant in found.tenants))
    return [*found.faults, *(fault for tenant in found.tenants for fault in tenant.faults)]


def test_right_books_hold() -> None:
    assert once(Shelf(BALANCE, POSTINGS)) == []
    tenant = audit_tenant("contoso", BALANCE, POSTINGS)
    assert (tenant.money_in, tenant.booked, tenant.balance) == ("10.000000", "3.500000", "6.500000")
    assert tenant.charges == 2


@given(st.lists(st.integers(1, 10**12), max_size=20), st.integers(0, 10**14))
def test_any_right_books_hold(charges: list[int], funded: int) -> None:
    running, postings = funded, [posting(1, "manual", format_amount(funded), format_amount(funded))]
    for number, charge in enumerate(charges, 2):
        running -= charge
        postings.append(posting(number, "charge", format_amount(-charge), format_amount(running), str(number)))
    balance = {**BALANCE, "balance": format_amount(running), "ledger_balance": format_amount(running)}
    assert once(Shelf(balance, postings)) == []


@pytest.mark.parametrize(
    ("balance", "postings", "drift", "fault"),
    [
        ({"ledger_balance": "6.500001"}, POSTINGS, 0, "money in differs"),
        ({"balance": "6.499999"}, POSTINGS, 0, "still differ by 0.000001"),
        ({"held": "0.000001"}, POSTINGS, 0, "still held"),
        ({}, POSTINGS, -1, "drift of -1"),
        ({}, [POSTINGS[0], POSTINGS[1], {**POSTINGS[2], "balance": "6.500001"}], 0, "posting 3"),
        ({}, [POSTINGS[0], POSTINGS[1], {**POSTINGS[2], "call_id": "a"}], 0, "charged more than once"),
        ({}, POSTINGS[:2], 0, "money in differs"),
    ],
)
def test_a_micro_too_many_shows(
    balance: dict[str, str], postings: list[dict[str, Any]], drift: int, fault: str
) -> None:
    found = once(Shelf({**BALANCE, **balance}, postings, drift))
    assert any(fault in text for text in found), found


def test_the_audit_waits_until_the_outbox_is_booked() -> None:
    class Late(Shelf):
        asked = 0

        def ledger(self, tenant: str) -> list[dict[str, Any]]:
            self.asked += 1
            return POSTINGS if self.asked > 2 else POSTINGS[:2]

        def balance(self, tenant: str) -> dict[str, Any]:
            return BALANCE if self.asked > 1 else {**BALANCE, "ledger_balance": "7.000000"}

    assert audit(Late(BALANCE, POSTINGS), settled_within_s=5.0, pause_s=0.0).holds


@pytest.fixture
def api() -> Iterator[HTTPServer]:
    documents = {
        "/api/v1/tenants": [{"id": "contoso"}],
        "/api/v1/tenants/contoso/balance": BALANCE,
        "/api/v1/tenants/contoso/ledger": POSTINGS,
        "/api/v1/reconcile": {"drift_micros": 0},
    }

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == "Bearer secret"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps(documents.get(self.path, {})).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_books_are_read_over_http(api: HTTPServer) -> None:
    assert audit(HttpBooks(f"http://127.0.0.1:{api.server_port}/", "secret")).holds


def test_a_wrong_token_or_address_is_told(api: HTTPServer) -> None:
    with pytest.raises(AuditError, match="HTTP 401; check --token"):
        audit(HttpBooks(f"http://127.0.0.1:{api.server_port}", "wrong"))
    with pytest.raises(AuditError, match="check --admin"):
        audit(HttpBooks("http://127.0.0.1:1", "secret"))
    with pytest.raises(AuditError, match="not an http"):
        HttpBooks("file:///etc/passwd", "")


def test_an_answer_that_is_no_document_is_told() -> None:
    with pytest.raises(AuditError, match="KeyError 'currency'"):
        once(Shelf({key: value for key, value in BALANCE.items() if key != "currency"}, POSTINGS))
