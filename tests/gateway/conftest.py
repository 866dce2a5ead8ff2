"""The ledger's backends, for every test that has a ledger: each runs once over each of them."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger import Ledger
from gateway.ledger import ledger_url as sqlalchemy_url

from ..peers import find_program
from .cluster import TEMPLATE, Cluster

POSTGRES = pytest.param("postgres", marks=pytest.mark.peer("postgres"))
BACKENDS = ["sqlite", POSTGRES]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One cluster for the whole run, with a template that has the product's tables.  It is up when a test begins."""
    program = find_program("postgres")
    assert program is not None, 'mark the test @pytest.mark.peer("postgres")'
    cluster = Cluster(program.parent)
    try:
        url = cluster.create(TEMPLATE)
        asyncio.run(_migrate(sqlalchemy_url(url, Path())))
        yield cluster
    finally:
        cluster.close()


async def _migrate(url: str) -> None:
    async with Ledger(url) as ledger:
        await ledger.migrate()


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """A database of the test's own with the product's tables in it, as ``[ledger] url`` has it."""
    name = f"test_{next(_numbers)}"
    yield postgres.create(name, TEMPLATE)
    postgres.drop(name)


@pytest.fixture(params=BACKENDS)
def configured_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """``[ledger] url`` of a ledger of the test's own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def ledger_url(configured_url: str, tmp_path: Path) -> str:
    """The same for :class:`Ledger`."""
    return sqlalchemy_url(configured_url, tmp_path)


@pytest.fixture(params=BACKENDS)
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """For :class:`Ledger`: a database without tables."""
    if request.param == "sqlite":
        yield sqlalchemy_url("embedded", tmp_path)
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    name = f"bare_{next(_numbers)}"
    yield sqlalchemy_url(cluster.create(name), tmp_path)
    cluster.drop(name)
