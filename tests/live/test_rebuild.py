"""A whole gate whose Redis is emptied under live calls: they go on, end when the money does, and are charged once."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from loadtest.audit import audit
from loadtest.bench.gate import CommandBooks, Gate
from loadtest.bench.processes import Children
from loadtest.bench.sipp import Sipp
from loadtest.wire import Address, sip_cause
from tests.live.phone import Phone, until

pytestmark = pytest.mark.peer("sipp", "redis-server")

MakeGate = Callable[..., Gate]


@pytest.fixture
def callee(children: Children, tmp_path: Path, carrier: Address) -> Sipp:
    sipp = Sipp(children, tmp_path, "callee")
    sipp.start_callee(carrier)
    return sipp


@pytest.fixture
def link() -> Iterator[Callable[[Gate], "redis.Redis"]]:
    opened: list[redis.Redis] = []

    def open_(gate: Gate) -> "redis.Redis":
        opened.append(redis.Redis(unix_socket_path=str(gate.redis_socket), decode_responses=True))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def opened(store: "redis.Redis", number: int) -> bool:
    return all(store.get(f"cg:{{p{place}}}:epoch") == str(number) for place in (0, 100, 255))


@pytest.mark.usefixtures("callee")
def test_calls_outlive_an_emptied_redis_and_are_charged_once(
    make_gate: MakeGate, link: Callable[[Gate], "redis.Redis"]
) -> None:
    gate = make_gate("contoso", funds="0.010", sections={"credit": "tick_s = 4\nrenew_lead_s = 1.0"})
    gate.start()
    phone, store = Phone(gate.sip), link(gate)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    time.sleep(0.05)  # talk of less than a millisecond is none, and costs nothing
    assert phone.hang_up(dialog).status == 200
    assert gate.wait_booked()
    began_s = time.monotonic()
    assert phone.call("+442079460001")[1].status == 200
    store.flushall()
    refused = phone.call("+442079460002")[1]
    assert refused.status in {402, 503}, "an empty account or a shut epoch grants nothing"
    until(lambda: opened(store, 2))
    bye = phone.wait_bye()
    assert sip_cause(bye) == 402
    assert time.monotonic() - began_s > 8.9, "nine of ten seconds were left"
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, ["contoso"]))
    assert found.holds, found
    assert found.tenants[0].balance == "0.000000"
    assert found.tenants[0].charges == 2
    phone.sock.close()
    assert gate.stop() == 0


@pytest.mark.usefixtures("callee")
def test_repair_beside_a_running_gate(make_gate: MakeGate, link: Callable[[Gate], "redis.Redis"]) -> None:
    gate = make_gate("contoso", funds="5")
    gate.start()
    phone, store = Phone(gate.sip), link(gate)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    (account,) = store.scan_iter("cg:*:account:contoso", count=10_000)
    store.hincrby(account, "balance", 7)
    assert gate.run("reconcile", "--json").status == 1
    said = gate.run("reconcile", "--repair", "--json")
    assert said.status == 0, said
    done = json.loads(said.out)
    assert (done["drift_micros"], done["rebuilt"]["calls_kept"], done["rebuilt"]["workers_unheard"]) == (0, 1, [])
    assert [each["balance_before"] for each in done["rebuilt"]["accounts"]] == ["5.000007"]
    until(lambda: opened(store, done["rebuilt"]["epoch"]))
    time.sleep(0.5)
    other, answer = phone.call("+442079460001")
    assert answer.status == 200
    for each in (dialog, other):
        assert phone.hang_up(each).status == 200
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, ["contoso"]))
    assert found.holds, found
    assert found.tenants[0].charges == 2
    phone.sock.close()
    assert gate.stop() == 0
