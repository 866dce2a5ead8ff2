"""The simulation must notice: each mistake that is made on purpose is caught by some early seed."""

import pytest

from tests.simulation.mutations import SCRIPTS, WORKER, notice


@pytest.mark.parametrize("mistake", [*SCRIPTS, *WORKER])
def test_a_mistake_is_noticed(mistake: str) -> None:
    _, said = notice(mistake)
    assert "again: python -m tests.simulation" in said
