"""DNS records as plain values: what gateway.transport.resolver answers and gateway.transport.locate reads.

Apart from both, so that a gate whose targets are all addresses never loads a DNS library.
"""

from typing import Final, Literal, NamedTuple

TTL_MAX_S: Final = 86_400.0
"""No answer is used for longer: a slip in a zone should not outlive a day."""

Kind = Literal["NAPTR", "SRV", "A", "AAAA"]


class Naptr(NamedTuple):
    """One NAPTR record (RFC 3403 4.1): ``flags`` and ``service`` in capitals, ``replacement`` without a final dot."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    """One SRV record (RFC 2782); ``target`` without a final dot, empty: there is no such service."""

    priority: int
    weight: int
    port: int
    target: str


Record = Naptr | Srv | str
"""One record: an address is text."""


class Answer(NamedTuple):
    """What is known of a name: records of the kind asked for (addresses as text), and for how long, in seconds.

    ``failed``: nobody answered, and the records, if there are any, are old ones.
    """

    records: tuple[Record, ...]
    ttl_s: float
    failed: bool = False
