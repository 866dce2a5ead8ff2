"""Where a call goes next: every target that may be tried for it, in order of preference.

Calls to the outside go to carrier trunks in file order, narrowed by their prefixes; emergency calls to the carriers
that take them, else to the first; calls to a tenant's own numbers to the trunk where they are answered (CONTRACT 3).
"""

from collections.abc import Iterable

from policy.directory import Directory, Trunk
from policy.verdict import Route


def carrier_routes(directory: Directory, number: str) -> tuple[Route, ...]:
    """Targets of the carriers that take an E.164 number with +; empty where none does."""
    takers = [trunk for trunk in directory.carriers if not trunk.prefixes or number.startswith(trunk.prefixes)]
    return _routes(takers, number)


def emergency_routes(directory: Directory, dialled: str) -> tuple[Route, ...]:
    """Targets of the carriers marked for emergency calls, else of the first carrier; digits as dialled."""
    marked = [trunk for trunk in directory.carriers if trunk.emergency]
    return _routes(marked or directory.carriers[:1], dialled)


def tenant_routes(directory: Directory, tenant_id: str, number: str) -> tuple[Route, ...]:
    """Targets of the tenant's own access trunks, else of those that any tenant may call from."""
    deliveries = directory.deliveries
    return _routes(deliveries.get(tenant_id) or deliveries.get("", ()), number)


def trunk_routes(directory: Directory, name: str, number: str) -> tuple[Route, ...]:
    """Targets of the trunk that a service number names."""
    trunk = directory.trunks.get(name)
    return () if trunk is None else _routes((trunk,), number)


def _routes(trunks: Iterable[Trunk], number: str) -> tuple[Route, ...]:
    return tuple([Route(trunk.name, target, number) for trunk in trunks for target in trunk.targets])
