"""The order of a call's routes: names become addresses, equals share by weight, what is down comes last."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from gateway.config.settings import TrunkSettings
from gateway.sip.events import Flow
from gateway.sip.uri import SipUri
from gateway.transport.locate import Hop, Located, Way
from gateway.worker import targets as targets_module
from gateway.worker.targets import Targets
from policy.verdict import Route

NUMBER = "+442079460000"
ONE, TWO = Hop("udp", "192.0.2.1", 5060), Hop("tcp", "192.0.2.2", 5061)


def trunk(name: str, *targets: Any) -> TrunkSettings:
    return TrunkSettings.model_validate({"name": name, "role": "carrier", "targets": targets})


def routes(*trunks: TrunkSettings) -> tuple[Route, ...]:
    """What policy says: every target of every trunk in file order."""
    return tuple(Route(each.name, target.uri, NUMBER) for each in trunks for target in each.targets)


class Names:
    """Answers for names; what is not there is not answered yet."""

    def __init__(self, **known: Located) -> None:
        self.known = known
        self.asked: list[str] = []

    async def __call__(self, uri: SipUri) -> Located:
        self.asked.append(uri.host)
        if uri.host not in self.known:
            await asyncio.Event().wait()
        return self.known[uri.host]


def way(*hops: Hop, rank: int = 0, weight: int = 1) -> Way:
    return Way(hops, (0, rank), weight)


def shown(found: tuple[Route, ...]) -> list[str]:
    return [route.hop or route.target for route in found]


def made(
    *trunks: TrunkSettings, names: Names | None = None, is_down: Callable[[Hop], bool] = lambda hop: False
) -> Targets:
    return Targets(trunks, names or Names(), is_down=is_down, chance=random.Random(3))


@pytest.mark.parametrize(
    ("targets", "reorders"),
    [
        (("sip:192.0.2.1", "sip:192.0.2.2"), False),
        (({"uri": "sip:192.0.2.1", "priority": 1}, {"uri": "sip:192.0.2.2", "priority": 5}), False),
        (({"uri": "sip:192.0.2.1", "priority": 2}, {"uri": "sip:192.0.2.2", "priority": 2}), True),
        (({"uri": "sip:192.0.2.1", "priority": 2}, {"uri": "sip:192.0.2.2", "priority": 1}), True),
        (("sip:one",), True),
        (("sip:one;maddr=192.0.2.1",), False),
    ],
)
def test_routes_are_touched_only_where_something_can_change_them(targets: Any, reorders: bool) -> None:
    targets = made(trunk("a", *targets))
    assert targets.reorders is reorders
    targets.note_down(True)
    assert targets.reorders
    targets.note_down(False)
    assert targets.reorders is reorders


def test_priorities_come_before_the_file_order_and_weights_share() -> None:
    spare = {"uri": "sip:192.0.2.9", "priority": 7}
    both = [
        {"uri": f"sip:192.0.2.{host}", "priority": 2, "weight": weight} for host, weight in ((1, 30), (2, 10))
    ]  # fmt: skip
    carrier = trunk("a", spare, *both)
    targets = made(carrier)
    first = Counter(shown(targets.order(routes(carrier)))[0] for _ in range(2000))
    assert set(first) == {"sip:192.0.2.1", "sip:192.0.2.2"}
    assert 0.7 < first["sip:192.0.2.1"] / 2000 < 0.8
    assert all(shown(targets.order(routes(carrier)))[2] == "sip:192.0.2.9" for _ in range(9))


async def test_a_name_becomes_its_addresses_and_the_request_uri_keeps_it() -> None:
    carrier = trunk("a", "sip:one", "sip:192.0.2.9")
    targets = made(carrier, names=Names(one=Located((way(TWO, rank=2), way(ONE, rank=1)), 60.0)))
    await targets.start()
    found = targets.order(routes(carrier))
    assert shown(found) == ["sip:192.0.2.1:5060", "sip:192.0.2.2:5061;transport=tcp", "sip:192.0.2.9"]
    assert [route.target for route in found] == ["sip:one", "sip:one", "sip:192.0.2.9"]
    await targets.stop()


async def test_a_call_waits_for_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets_module, "START_S", 0.05)
    carrier = trunk("a", "sip:silent", "sip:192.0.2.9")
    targets = made(carrier)
    await targets.start()
    assert shown(targets.order(routes(carrier))) == ["sip:silent", "sip:192.0.2.9"]
    await targets.stop()


async def test_a_name_without_addresses_comes_last() -> None:
    carrier = trunk("a", "sip:nobody", "sip:192.0.2.9")
    targets = made(carrier, names=Names(nobody=Located((), 60.0)))
    await targets.start()
    assert shown(targets.order(routes(carrier))) == ["sip:192.0.2.9", "sip:nobody"]
    await targets.stop()


async def test_names_are_looked_up_again_and_old_addresses_kept_while_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets_module, "REFRESH_MIN_S", 0.0)
    names = Names(one=Located((way(ONE),), 0.01))
    changes: list[int] = []
    carrier = trunk("a", "sip:one")
    targets = Targets([carrier], names, changed=lambda: changes.append(1))
    await targets.start()
    before = len(changes)
    names.known["one"] = Located((), 0.01, failed=True)
    await asyncio.sleep(0.05)
    assert shown(targets.order(routes(carrier))) == ["sip:192.0.2.1:5060"]
    assert len(changes) == before
    names.known["one"] = Located((way(TWO),), 0.01)
    async with asyncio.timeout(5):
        while len(changes) == before:
            await asyncio.sleep(0.01)
    assert shown(targets.order(routes(carrier))) == ["sip:192.0.2.2:5061;transport=tcp"]
    await targets.stop()


async def test_a_fault_in_looking_up_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets_module, "REFRESH_MIN_S", 0.0)
    answers = [RuntimeError("a bug"), Located((way(ONE),), 60.0)]

    async def locate(uri: SipUri) -> Located:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    carrier = trunk("a", "sip:one")
    targets = Targets([carrier], locate)
    await targets.start()
    async with asyncio.timeout(5):
        while answers:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert shown(targets.order(routes(carrier))) == ["sip:192.0.2.1:5060"]
    await targets.stop()


async def test_what_is_down_is_tried_last_of_its_trunk() -> None:
    """Pings never change which carrier is asked first: that is the order of the file."""
    down = {Hop("udp", "192.0.2.1", 5060), Hop("udp", "192.0.2.8", 5060)}
    first, second = trunk("a", "sip:192.0.2.1", "sip:one"), trunk("b", "sip:192.0.2.8", "sip:192.0.2.9")
    names = Names(one=Located((way(ONE, TWO),), 60.0))
    targets = made(first, second, names=names, is_down=down.__contains__)
    await targets.start()
    assert shown(targets.order(routes(first, second))) == [
        "sip:192.0.2.2:5061;transport=tcp", "sip:192.0.2.1", "sip:192.0.2.1:5060",
        "sip:192.0.2.9", "sip:192.0.2.8",
    ]  # fmt: skip
    await targets.stop()


def test_routes_of_nobodys_making_are_left_alone() -> None:
    targets = made(trunk("a", "sip:192.0.2.1"))
    strange = (Route("gone", "sip:192.0.2.77", NUMBER),)
    assert targets.order(strange) == strange


def test_where_a_peer_has_registered_stays_newest_first() -> None:
    carrier = trunk("b", {"uri": "sip:192.0.2.1", "priority": 1}, {"uri": "sip:192.0.2.2", "priority": 1})
    targets = made(carrier)
    registered = tuple(Route("a", f"sip:x@192.0.2.{host}", NUMBER) for host in range(50, 60))
    for _ in range(5):
        assert targets.order((*registered, *routes(carrier)))[:10] == registered


def test_whom_a_target_must_prove_to_be() -> None:
    named = TrunkSettings.model_validate(
        {"name": "a", "role": "carrier", "targets": ["sips:192.0.2.1"], "tls_name": "carrier.example.org"}
    )
    targets = made(named, trunk("b", "sips:sip.example.net"))
    assert [target.name for target in targets.all] == ["carrier.example.org", "sip.example.net"]


async def test_calls_go_through_the_proxy_of_their_trunk_and_never_around_it() -> None:
    behind = TrunkSettings.model_validate(
        {"name": "a", "role": "carrier", "targets": ["sip:192.0.2.1", "sip:one"], "proxy": "sip:proxy.example.org"}
    )
    names = Names(**{"proxy.example.org": Located((way(TWO),), 60.0)})
    targets = made(behind, names=names)
    hops = [(route.hop, route.proxy) for route in targets.order(routes(behind))]
    assert hops == [("sip:proxy.example.org", "sip:proxy.example.org")] * 2
    await targets.start()
    assert names.asked == ["proxy.example.org"] * 2
    found = targets.order(routes(behind))
    assert {(route.hop, route.proxy) for route in found} == {
        ("sip:192.0.2.2:5061;transport=tcp", "sip:proxy.example.org")
    }
    assert [route.target for route in found] == ["sip:192.0.2.1", "sip:one"]
    await targets.stop()


async def test_a_registrar_is_found_by_its_name_and_gets_no_calls() -> None:
    carrier = TrunkSettings.model_validate(
        {
            "name": "a", "role": "carrier", "targets": ["sip:192.0.2.9"],
            "proxy": "sip:192.0.2.8", "tls_name": "sip.carrier.example",
            "registration": {"registrar": "sips:one", "address": "sip:gate@one"},
        }
    )  # fmt: skip
    hops = Hop("tls", "192.0.2.1", 5061), Hop("tls", "192.0.2.2", 5071)
    targets = made(carrier, names=Names(one=Located((way(hops[0], rank=1), way(hops[1], rank=2)), 60.0)))
    assert targets.registrar("a", 0) is None
    await targets.start()
    assert [targets.registrar("a", tries) for tries in range(3)] == [Flow(*hops[0]), Flow(*hops[1]), Flow(*hops[0])]
    assert targets.registrar("b", 0) is None
    assert [target.rule.uri for target in targets.all] == ["sip:192.0.2.9"]
    (registrar,) = targets.registrars
    assert (registrar.name, registrar.hops) == ("sip.carrier.example", [*hops])
    await targets.stop()
