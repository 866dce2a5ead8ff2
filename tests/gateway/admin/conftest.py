"""An admin process' insides on a real socket, with a real Redis and a real ledger behind them."""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.app import serve_admin
from gateway.admin.token import admin_token
from gateway.config import provisioning, settings
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin
from gateway.credit.embedded import EmbeddedRedis
from gateway.credit.roles import ADMIN
from gateway.ledger import Ledger, ledger_url
from gateway.settlement import settle_in

from ..guarded import WATCHER, Guarded

PARTITIONS = 4
SETTINGS = f"""
[node]
data_dir = "data"
[redis]
partitions = {PARTITIONS}
[[trunk]]
name = "pbx"
role = "access"
tenant = "contoso"
hosts = ["127.0.0.2"]
targets = ["sip:127.0.0.2:5060"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.3"]
targets = ["sip:127.0.0.3:5060"]
"""
PROVISIONING = """
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"
[[tenant]]
id = "contoso"
name = "Contoso Ltd"
rate_deck = "standard"
limits = { max_calls = 50, spend_per_day = "200.00" }
[[tenant.user]]
id = "alice@contoso.com"
number = "+14255550100"
[[tenant.service_number]]
number = "+18005550199"
kind = "toll_free"
serves = "conference"
deliver_to = "pbx"
[[tenant]]
id = "fabrikam"
mode = "postpaid"
credit_limit = "5"
rate_deck = "standard"
"""
DECK = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n1,United States,60000,0,1,1\n"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class World:
    """The stores and the address of the HTTP side."""

    settings: Settings
    ledger: Ledger
    credit: CreditAdmin
    redis: EmbeddedRedis
    port: int
    metrics_dir: Path

    async def ask(self, method: str, path: str, token: str | None = "", accept: str = "*/*") -> Answer:
        """One request; ``token`` "" is the right one, None sends none."""
        right = admin_token(self.settings) if token == "" else token
        headers = {"Accept": accept} | ({"Authorization": f"Bearer {right}"} if right is not None else {})
        return await asyncio.to_thread(self._ask, method, path, headers)

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            link.request(method, path, headers=headers)
            answer = link.getresponse()
            body: Any = answer.read().decode()
            found = {name.lower(): value for name, value in answer.getheaders()}
            if "json" in found.get("content-type", ""):
                body = json.loads(body)
            return Answer(answer.status, found, body)
        finally:
            link.close()

    def worker_ready(self, slot: int = 0) -> Path:
        """Stand in for a worker that accepts calls."""
        run = self.settings.data_dir / "run"
        (run / "worker.lock").touch()
        ready = run / f"ready-{slot}"
        ready.write_text(str(os.getpid()))
        return ready


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@contextlib.asynccontextmanager
async def open_world(tmp_path: Path, more: str = "", guarded: Guarded | None = None) -> AsyncIterator[World]:
    """A world over embedded stores; ``more`` are further settings.  In a guarded Redis it has the admin's rights."""
    (tmp_path / "deck.csv").write_text(DECK)
    found = settings.parse(tomllib.loads(SETTINGS + more), "callgate.toml", tmp_path)
    metrics_dir = found.data_dir / "run" / "metrics"
    metrics_dir.mkdir(parents=True)
    redis = EmbeddedRedis(found.data_dir)
    if guarded is None:
        await redis.ensure()
    mine, its = (guarded.url(WATCHER), guarded.url(ADMIN.name)) if guarded else (redis.url, redis.url)
    url = ledger_url(found.ledger.url, found.data_dir)
    stop, sock = asyncio.Event(), socket.create_server(("127.0.0.1", 0))
    async with Ledger(url) as ledger:
        await ledger.migrate()
        await ledger.provision(provisioning.parse(tomllib.loads(PROVISIONING), "tenants.toml", tmp_path))
        credit = CreditAdmin(mine, partitions=PARTITIONS)
        await settle_in(ledger, credit)
        serving = asyncio.create_task(
            serve_admin(found, redis_url=its, ledger_url=url, sock=sock, stop=stop, metrics_dir=str(metrics_dir))
        )
        yield World(found, ledger, credit, redis, sock.getsockname()[1], metrics_dir)
        stop.set()
        await serving
        sock.close()
        await credit.close()
    if guarded is None:
        await redis.stop()
