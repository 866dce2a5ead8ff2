"""The hash chain that makes a tenant's postings tamper-evident (MONEY 4).

The hash of a posting is SHA-256 over the hash before it and the posting's fields as one compact JSON array; the first
posting follows 32 zero bytes.  What stands beside a posting enters by a SHA-256 of its own, ``record_sha256``: the
call's record, which can so be deleted one day (data protection) without breaking the chain, or actor and reason of a
funding (empty for fundings booked before these were chained).  Whoever has the last (seq, hash) can prove any earlier
line.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from json import JSONEncoder

GENESIS = bytes(32)
"""What the first posting of a tenant follows."""

_encode = JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class Line:
    """One posting as it is stored; ``previous`` hashes chain lines of one tenant."""

    tenant_id: str
    seq: int
    at_ms: int
    kind: str
    account: str
    amount_micros: int
    balance_micros: int
    reference: str
    charge_id: str
    record_sha256: bytes
    hash: bytes = b""

    def row(self) -> tuple[str | int | bytes, ...]:
        """Its values in the order of its fields."""
        return (
            self.tenant_id, self.seq, self.at_ms, self.kind, self.account, self.amount_micros, self.balance_micros,
            self.reference, self.charge_id, self.record_sha256, self.hash,
        )  # fmt: skip


def line_hash(previous: bytes, line: Line) -> bytes:
    """The hash of ``line`` that follows the hash ``previous``."""
    fields = _encode(
        [
            line.tenant_id,
            line.seq,
            line.at_ms,
            line.kind,
            line.account,
            line.amount_micros,
            line.balance_micros,
            line.reference,
            line.charge_id,
            line.record_sha256.hex(),
        ]
    )
    return sha256(previous + fields.encode()).digest()


def funding_digest(actor: str, reason: str) -> bytes:
    """What enters the chain of who booked a funding, and why."""
    return sha256(_encode([actor, reason]).encode()).digest()


@dataclass(slots=True)
class Tail:
    """The end of a tenant's chain: what the next posting goes on from.  ``money_in_seq``: last posting of money in."""

    tenant_id: str
    balance_micros: int = 0
    seq: int = 0
    money_in_seq: int = 0
    head: bytes = GENESIS

    def append(
        self,
        at_ms: int,
        kind: str,
        account: str,
        amount_micros: int,
        *,
        reference: str = "",
        charge_id: str = "",
        record_sha256: bytes = b"",
    ) -> Line:
        """Make the next line and move the tail behind it."""
        self.seq += 1
        self.balance_micros += amount_micros
        line = Line(
            self.tenant_id, self.seq, at_ms, kind, account, amount_micros, self.balance_micros, reference, charge_id,
            record_sha256,
        )  # fmt: skip
        line.hash = self.head = line_hash(self.head, line)
        if amount_micros > 0:
            self.money_in_seq = self.seq
        return line


def first_fault(tail: Tail, lines: Iterable[Line]) -> tuple[int, str] | None:
    """Check ``lines`` that should follow ``tail``, moving it on; the first wrong line's number and why, or None."""
    for line in lines:
        why = _fault(tail, line)
        if why:
            return line.seq, why
        tail.seq, tail.balance_micros, tail.head = line.seq, line.balance_micros, line.hash
    return None


def _fault(tail: Tail, line: Line) -> str:
    if line.seq != tail.seq + 1:
        return f"line {tail.seq + 1} is missing"
    if line.balance_micros != tail.balance_micros + line.amount_micros:
        return "its running balance does not follow from the line before"
    if line_hash(tail.head, line) != line.hash:
        return "it is not what was booked: its hash does not match"
    return ""
