"""Which tests run where: one that needs a real peer program says so, and is skipped, visibly, where it is missing.

With ``CALLGATE_PEERS=required`` (the project's own CI) a missing peer is a failure instead.
"""

import os
from pathlib import Path

import pytest

from .peers import find_program

LIVE = Path(__file__).parent / "live"

PACKAGES = "sip-tester, redis-server, baresip, kamailio, postgresql"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole gates run one after the other, in one of the processes that share the tests (``pytest -n``): their calls
    have moments of their own, which two gates and two loads on one machine would blur.  They come first, so that the
    others are done meanwhile."""
    items.sort(key=lambda item: LIVE not in item.path.parents)
    for item in items:
        if LIVE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("live"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("peer"):
        missing = [name for name in mark.args if find_program(name) is None]
        if not missing:
            continue
        message = f"needs {', '.join(missing)} on PATH (Debian: {PACKAGES})"
        if os.environ.get("CALLGATE_PEERS") == "required":
            pytest.fail(message)
        pytest.skip(message)
