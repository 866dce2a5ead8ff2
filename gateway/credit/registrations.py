"""Where peers have registered from, as one text for each account, shared by every worker and gate on this Redis.

What the text means is gateway.sip.registrar's.  It is read, changed there, and put back only where nobody else has
changed it meanwhile; whoever lost reads again.  It goes by itself when its last binding ends, and outlives the worker
that wrote it.  It is no money: it belongs to no partition and no epoch.
"""

from collections.abc import Awaitable, Sequence
from typing import cast

from gateway.credit import lua
from gateway.credit.client import Client
from gateway.credit.keys import registered_key


class Registrations:
    """The registrations in Redis; raises StoreError where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def registrations(self, accounts: Sequence[str]) -> list[str]:
        """The text of each account in their order; empty where there is none."""
        async with self._client.asking():
            pipeline = self._client.pipeline()
            for account in accounts:
                pipeline.hget(registered_key(account), "bindings")
            found = await cast(Awaitable[list[bytes | None]], pipeline.execute())
        return [(text or b"").decode() for text in found]

    async def put_registration(self, account: str, read: str, text: str, life_ms: int) -> str | None:
        """Put ``text`` in place of ``read``, for ``life_ms``; empty: nothing.

        None where it is done, else what stands there instead of ``read``.
        """
        words: list[str | bytes | int] = [read, text, max(1, life_ms)]
        async with self._client.asking():
            state, found = await self._client.call(lua.REGISTER, [registered_key(account)], words)
        return None if state == b"PUT" else bytes(found).decode()
