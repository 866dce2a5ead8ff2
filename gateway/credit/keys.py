"""How keys are named: everything of one partition shares the hash tag ``{pN}``, so that one script may touch it all.

A tenant belongs to partition ``crc16(tenant) mod P`` (MONEY 3).  In Redis Cluster the text between braces decides
the slot of a key, and a script over two slots is refused (CROSSSLOT); a partition is therefore the unit that is
atomic, fenced by one epoch, and rebuilt.  P is fixed when a Redis is first used and refused if it changes, because
another P would look for every account under another tag.

Keys of a partition, N without leading zeros:

| key | type | what |
|---|---|---|
| ``cg:{pN}:epoch`` | string | number of the epoch, with `` rebuilding`` or `` counting`` behind it till it opens |
| ``cg:{pN}:opened`` | string | Unix ms (Redis' clock) of the last change of the epoch |
| ``cg:{pN}:account:TENANT`` | hash | balance, held, calls, applied, bucket_milli, bucket_ms |
| ``cg:{pN}:counters:TENANT`` | hash | minutes and money by pool, limit and period; live calls; closed ranges |
| ``cg:{pN}:range:TENANT:PREFIX`` | zset | numbers of that range by when they were called last; goes after an hour |
| ``cg:{pN}:call:ID`` | hash | one live call; over: ``done``, the marker of MONEY 3, and what a sweep charged |
| ``cg:{pN}:leases`` | zset | ``ID TENANT`` by the end of the lease, Unix ms |
| ``cg:{pN}:outbox`` | stream | charges on their way to the ledger |
| ``cg:{pN}:refused`` | stream | refused calls, capped |
| ``cg:{pN}:withdrawal:ID`` | hash | what a withdrawal took, and in which epoch |
| ``cg:{pN}:booked`` | string | the last outbox entry that the ledger booked |
| ``cg:{pN}:said`` | hash | ``ID TENANT`` by charge in micro-units: charges that a worker said after a rebuild began |

Outside the partitions: ``cg:partitions`` (P), ``cg:owners`` (claims of worker slots, and who is heir
of one that is gone), ``cg:orders:NODE/SLOT`` (a
worker's stream), ``cg:directory`` (the version published last), ``cg:epoch`` (the newest epoch begun), ``cg:heard``
(by worker, the epoch in which it has said all it knows), ``cg:doubtful`` (partitions with charges said too late for
the rebuild) and ``cg:registered:TRUNK`` (where a peer has registered from).  Each is asked for by itself, so in a
cluster they may be at different nodes.
"""

from binascii import crc_hqx
from typing import Final

SLOTS: Final = 16384
"""Slots of Redis Cluster."""

TENANTS_CACHED: Final = 100_000
"""Tenants whose key names are kept ready: about 60 MB; beyond that the cache starts afresh."""

PARTITIONS_KEY: Final = "cg:partitions"
OWNERS_KEY: Final = "cg:owners"
DIRECTORY_KEY: Final = "cg:directory"

NEWEST_KEY: Final = "cg:epoch"
HEARD_KEY: Final = "cg:heard"
DOUBTFUL_KEY: Final = "cg:doubtful"

PARTITION_PATTERN: Final = "cg:{p*}:*"
"""What Redis' key permissions call the keys of all partitions (a brace means nothing there)."""

ORDERS_PATTERN: Final = "cg:orders:*"

REGISTERED_PATTERN: Final = "cg:registered:*"

REBUILDING: Final = " rebuilding"
"""Stands behind the number of an epoch in which nothing is granted, and workers say what they know."""

COUNTING: Final = " counting"
"""Stands behind the number of an epoch in which nobody but the rebuild's leader may change anything."""


def epoch_number(value: str) -> int:
    """The number in an epoch as it is stored; 0 where there is none."""
    return int(value.partition(" ")[0] or 0)


def is_open(value: str) -> bool:
    """Whether grants are given in this epoch."""
    return value.isdecimal()


def crc16(text: str) -> int:
    """CRC-16/XMODEM, the one that Redis Cluster uses for its slots."""
    return crc_hqx(text.encode(), 0)


def slot_of(key: str) -> int:
    """The Redis Cluster slot of a key: of the text between the first ``{`` and the next ``}``, else of all of it."""
    start = key.find("{")
    end = key.find("}", start + 1)
    tag = key[start + 1 : end] if start >= 0 and end > start + 1 else key
    return crc16(tag) % SLOTS


def orders_key(worker: str) -> str:
    """The stream of orders for the worker ``node/slot``."""
    return f"cg:orders:{worker}"


def registered_key(account: str) -> str:
    """Where the peer of an account, a trunk, has registered from."""
    return f"cg:registered:{account}"


class PartitionKeys:
    """The keys of one partition."""

    __slots__ = ("booked", "epoch", "leases", "number", "opened", "outbox", "prefix", "refused", "said")

    def __init__(self, number: int) -> None:
        prefix = f"cg:{{p{number}}}:"
        self.number = number
        self.prefix = prefix
        self.epoch = prefix + "epoch"
        self.opened = prefix + "opened"
        self.leases = prefix + "leases"
        self.outbox = prefix + "outbox"
        self.refused = prefix + "refused"
        self.booked = prefix + "booked"
        self.said = prefix + "said"

    def account(self, tenant_id: str) -> str:
        """A tenant's account."""
        return f"{self.prefix}account:{tenant_id}"

    def counters(self, tenant_id: str) -> str:
        """What a tenant's pools and limits have given (scripts/lib/drawn.lua names the fields)."""
        return f"{self.prefix}counters:{tenant_id}"

    def range(self, tenant_id: str, prefix: str) -> str:
        """Numbers with this prefix that the tenant called within the last hour."""
        return f"{self.prefix}range:{tenant_id}:{prefix}"

    def call(self, call_id: str) -> str:
        """A live call, or the marker that it is over."""
        return f"{self.prefix}call:{call_id}"

    def withdrawal(self, charge_id: str) -> str:
        """The marker of money taken out."""
        return f"{self.prefix}withdrawal:{charge_id}"


class TenantKeys:
    """What the scripts of one tenant's calls need, ready to be sent."""

    __slots__ = ("account", "counters", "partition")

    def __init__(self, partition: PartitionKeys, tenant_id: str) -> None:
        self.partition = partition
        self.account = partition.account(tenant_id)
        self.counters = partition.counters(tenant_id)


class Keyspace:
    """All partitions of one Redis, and the tenants seen so far."""

    def __init__(self, partitions: int) -> None:
        if partitions < 1:
            raise ValueError(f"{partitions} partitions: at least one is needed")
        self.partitions = [PartitionKeys(number) for number in range(partitions)]
        self._tenants: dict[str, TenantKeys] = {}

    def tenant(self, tenant_id: str) -> TenantKeys:
        """The keys of a tenant."""
        keys = self._tenants.get(tenant_id)
        if keys is None:
            if len(self._tenants) >= TENANTS_CACHED:
                self._tenants.clear()
            partition = self.partitions[crc16(tenant_id) % len(self.partitions)]
            keys = self._tenants[tenant_id] = TenantKeys(partition, tenant_id)
        return keys

    def partition(self, tenant_id: str) -> PartitionKeys:
        """The partition of a tenant."""
        keys = self._tenants.get(tenant_id)
        return (keys or self.tenant(tenant_id)).partition
