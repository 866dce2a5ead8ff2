"""A call that is over is freed by counting references: no cycle of it is left for the garbage collector to find.

The worker keeps the collector away from its hot path; what calls left behind would pile up.
"""

import gc
from collections.abc import Callable, Iterator

import pytest

from gateway.call.settings import CallSettings
from tests.gateway.call.world import OFFER, REPLY, Options, World, allow, both_targets

CALLS = 20


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def answered(world: World) -> None:
    dialog, _ = world.talk()
    world.run(1.0)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")


def cut(world: World) -> None:
    world.talk()
    world.run(20.0)
    world.ok(world.caller, "BYE")
    world.ok(world.called, "BYE")


def refused(world: World) -> None:
    world.store.deny = "NO_CREDIT"
    world.caller.invite()
    world.store.deny = ""


def busy(world: World) -> None:
    world.ring()
    world.called.answer("INVITE", 486, tag="b1")


def cancelled(world: World) -> None:
    world.caller.cancel(world.ring())
    world.called.answer("INVITE", 487, tag="b1")


def cancelled_too_late(world: World) -> None:
    sent = world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.cancel(sent)
    world.store.slow = False
    world.settle()
    world.ok(world.called, "BYE")


def failed_over(world: World) -> None:
    world.caller.invite()
    world.called.answer("INVITE", 503)
    world.spare.answer("INVITE", 404)


def silent(world: World) -> None:
    world.lose = lambda source, target, data: target in (world.called.address, world.spare.address)
    world.caller.invite()
    world.run(10.0)
    world.lose = lambda source, target, data: False


def with_requests(world: World) -> None:
    from_caller, from_called = world.talk()
    for method in ("INFO", "UPDATE"):
        world.called.send(from_called, method, body=OFFER)
        world.caller.answer(method, 200, body=REPLY)
    world.caller.send(from_caller, "INVITE", body=OFFER)
    world.called.answer("INVITE", 200, body=REPLY)
    world.caller.ack(from_caller, seq=2)
    world.called.send(from_called, "INVITE", body=OFFER)
    world.caller.answer("INVITE", 180)
    world.caller.send(from_caller, "BYE")
    world.caller.answer("INVITE", 487)
    world.ok(world.called, "BYE")


def refreshed(world: World) -> None:
    dialog, _ = world.talk(headers=(("Supported", "timer"), ("Session-Expires", "90;refresher=uas")))
    world.run(46.0)
    world.caller.answer("INVITE", 200, body=REPLY, headers=(("Session-Expires", "90;refresher=uac"),))
    world.called.answer("OPTIONS", 200)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")


@pytest.mark.parametrize(
    "course",
    [
        answered, cut, refused, busy, cancelled, cancelled_too_late, failed_over, silent, with_requests, refreshed,
    ],
    ids=lambda course: str(course.__name__),
)  # fmt: skip
def test_nothing_is_left_for_the_collector(course: Callable[[World], None]) -> None:
    paid = course is cut
    verdict = allow(routes=both_targets()) if paid else allow(routes=both_targets(), tariff=None, payer="none")
    world = World(Options(verdict=verdict, settings=CallSettings(tick_s=10, session_expires_s=90)))
    for _ in range(CALLS):
        if paid:
            world.store.balances["contoso"] = 2_000_000
        course(world)
        world.caller.seen.clear()
        world.run(200.0)
    assert world.is_clean()
    assert world.endpoint.load == 0
    for phone in world.phones.values():
        phone.seen.clear()
        phone.events.clear()
        phone.waiting.clear()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        left = [type(thing).__name__ for thing in gc.garbage if type(thing).__module__.startswith("gateway.call")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []
