"""Which tests run where: one that needs a real peer program says so, and is skipped, visibly, where it is missing.

With ``CALLGATE_PEERS=required`` (the project's own CI) a missing peer is a failure instead.
"""

import os
from pathlib import Path

import pytest

from .peers import find_program

LIVE = Path(__file__).parent / "live"

PACKAGES = "sip-tester, sipsak, redis-server, baresip, kamailio, postgresql"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole gates first.  Of two processes that share the tests (``-n 2 --dist worksteal``) one begins at the beginning
    and the other in the middle, so whole gates run one after the other, and the rest is done meanwhile."""
    items.sort(key=lambda item: LIVE not in item.path.parents)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("peer"):
        missing = [name for name in mark.args if find_program(name) is None]
        if not missing:
            continue
        message = f"needs {', '.join(missing)} on PATH (Debian: {PACKAGES})"
        if os.environ.get("CALLGATE_PEERS") == "required":
            pytest.fail(message)
        pytest.skip(message)
