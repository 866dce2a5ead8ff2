"""Fresh tokens for tags, branches and Call-IDs: the dice that quiet rooms are handed.

RFC 3261 19.3 asks for tags of at least 32 random bits that nobody can guess; these have 64, from the kernel, fetched
in blocks because one system call for each token would cost more than all else about it.
"""

import os
import time
from collections.abc import Callable
from typing import Final

from gateway.transport.handoff import owner

TOKEN_BYTES: Final = 8
BLOCK_TOKENS: Final = 512
"""Tokens made of one read of the kernel's random source."""

VARIANTS: Final = "89ab"
"""The first digit behind the third dash of a UUID: two fixed bits and two random ones (RFC 9562 4.1)."""

TRIES_MAX: Final = 10_000
"""Call-IDs tried for one that hashes to this worker: with 256 slots the chance that all miss is below 1e-17."""


class Tokens:
    """Random text of 16 lower-case hexadecimal digits, as often as it is called."""

    __slots__ = ("_block",)

    def __init__(self) -> None:
        self._block: list[str] = []

    def __call__(self) -> str:
        """One token."""
        if not self._block:
            digits = os.urandom(TOKEN_BYTES * BLOCK_TOKENS).hex()
            width = TOKEN_BYTES * 2
            self._block = [digits[at : at + width] for at in range(0, len(digits), width)]
        return self._block.pop()


def call_ids(token: Callable[[], str]) -> Callable[[], str]:
    """Makes the gate's own ids of calls (SIP.md 1): UUIDs of version 7 (RFC 9562 5.7), random bits behind the time.

    ``token`` gives 16 random hexadecimal digits each time (:class:`Tokens`).  Ids that rise with time keep what the
    ledger writes together on a few pages of its indexes.
    """

    def make() -> str:
        stamp = f"{time.time_ns() // 1_000_000:012x}"
        one, two = token(), token()
        return f"{stamp[:8]}-{stamp[8:]}-7{one[:3]}-{VARIANTS[int(one[3], 16) & 3]}{one[4:7]}-{two[:12]}"

    return make


def own_call_ids(token: Callable[[], str], slot: int, workers: int) -> Callable[[], str]:
    """As :func:`call_ids`, but ids that hash to ``slot`` among all ``workers``.

    They stand in the Call-ID of the called leg: a peer that sends a request of that leg to the shared port instead of
    our Contact still reaches us.
    """
    new_call_id, slots = call_ids(token), list(range(workers))

    def make() -> str:
        for _ in range(TRIES_MAX):
            call_id = new_call_id()
            if owner(call_id.encode("ascii"), slots) == slot:
                break
        return call_id

    return make if workers > 1 else new_call_id
