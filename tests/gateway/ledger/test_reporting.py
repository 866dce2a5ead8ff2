"""What reports ask of the ledger: who was blocked, and a tenant's least funding."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.config.provisioning import Provisioning
from gateway.ledger import Act, Ledger, UnknownTenant

Document = Callable[..., Provisioning]


async def blockings(ledger: Ledger, tenant_id: str) -> list[tuple[str, str]]:
    return [(act.act, act.subject) async for act in ledger.blockings(tenant_id)]


async def test_only_acts_that_block_or_unblock(ledger: Ledger, document: Document) -> None:
    def people(*users: dict[str, Any]) -> Provisioning:
        return document(
            {"id": "contoso", "user": list(users)}, {"id": "fabrikam", "user": [{"id": "f", "blocked": True}]}
        )

    await ledger.provision(people({"id": "a", "name": '"blocked": true'}, {"id": "b", "blocked": True}))
    await ledger.provision(people({"id": "a", "name": "A"}, {"id": "b", "blocked": True, "name": "B"}))
    await ledger.provision(people({"id": "a", "blocked": True}))
    await ledger.note(Act("cli:ann", "call.hangup", "contoso", "c1", {"blocked": True}))
    assert await blockings(ledger, "contoso") == [("user.added", "b"), ("user.removed", "b"), ("user.changed", "a")]
    assert await blockings(ledger, "fabrikam") == [("user.added", "f")]
    assert await blockings(ledger, "nobody") == []


async def test_the_least_funding(ledger: Ledger, document: Document) -> None:
    await ledger.provision(document({"id": "contoso", "minimum_funding": "50"}))
    assert await ledger.minimum_funding("contoso") == 50_000_000
    assert await ledger.minimum_funding("fabrikam") is None
    with pytest.raises(UnknownTenant):
        await ledger.minimum_funding("nobody")
