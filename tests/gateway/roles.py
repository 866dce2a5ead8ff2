"""A database whose users have the printed rights in PostgreSQL, made in the order that the printed file says."""

import asyncio
from pathlib import Path

from gateway.ledger import Ledger
from gateway.ledger import ledger_url as sqlalchemy_url
from gateway.ledger.roles import OWNER, postgres_roles

from .cluster import Cluster


class Guarded:
    """One database of a cluster; users sign in without a password, as the cluster trusts its socket."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        cluster.create(name)
        self.allow()
        asyncio.run(self._migrate())
        self.allow()

    def allow(self) -> None:
        """Carry out the printed file as the superuser."""
        assert self.cluster.sql(postgres_roles(), self.name) == ""

    async def _migrate(self) -> None:
        async with Ledger(self.url(OWNER)) as ledger:
            await ledger.migrate()

    def url(self, user: str) -> str:
        """For :class:`Ledger`."""
        return sqlalchemy_url(self.cluster.url(self.name, user=user), Path())

    def refusal(self, user: str, statement: str) -> str:
        """What the server says no with; empty where it does as told."""
        return self.cluster.refusal(statement, self.name, user)

    def close(self) -> None:
        self.cluster.drop(self.name)
