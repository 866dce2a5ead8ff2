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


def new_call_id() -> str:
    """The gate's own id of a call (SIP.md 1): a UUID of version 7 (RFC 9562 5.7), 74 random bits behind the time.

    Ids that rise with time keep what the ledger writes together on a few pages of its indexes.
    """
    stamp = time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF
    tail = int.from_bytes(os.urandom(10), "big")
    digits = f"{stamp:012x}7{tail >> 68:03x}{0x8 | tail >> 66 & 0x3:x}{tail & 0xFFF_FFFF_FFFF_FFFF:015x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def own_call_ids(slot: int, workers: int) -> Callable[[], str]:
    """Makes call ids that hash to ``slot`` among all ``workers``.

    They stand in the Call-ID of the called leg: a peer that sends a request of that leg to the shared port instead of
    our Contact still reaches us.
    """
    slots = list(range(workers))

    def make() -> str:
        for _ in range(TRIES_MAX):
            call_id = new_call_id()
            if owner(call_id.encode("ascii"), slots) == slot:
                break
        return call_id

    return make if workers > 1 else new_call_id
