"""Which tests run where: a test that needs a real peer program says so, and is skipped, visibly, where it is missing.

With ``CALLGATE_PEERS=required`` (the project's own CI) a missing peer is a failure instead.
"""

import os

import pytest

from .peers import find_program

PACKAGES = "sip-tester, redis-server, baresip, kamailio, postgresql"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("peer"):
        missing = [name for name in mark.args if find_program(name) is None]
        if not missing:
            continue
        message = f"needs {', '.join(missing)} on PATH (Debian: {PACKAGES})"
        if os.environ.get("CALLGATE_PEERS") == "required":
            pytest.fail(message)
        pytest.skip(message)
