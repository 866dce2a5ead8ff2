"""Whatever happens in whatever order: no call is stuck, none is settled twice, both sides end, nobody is overcharged.

Hypothesis plays both phones, the link, the store and the clock at random, with two calls on one small balance.  Then
either everybody behaves again or everybody vanishes, and in both cases the gate must come to rest with nothing left:
no call, no tag, no transaction, no reservation.  That a charge never exceeds what is held, that available never falls
below zero, and that each call is closed once, is asserted by the store model at every step.
"""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call.commands import Refused, Release, Reserve, Settle
from gateway.call.settings import CallSettings
from gateway.sip.message import Request, Response, parse
from tests.gateway.call.world import OFFER, REPLY, Options, Phone, World, allow, both_targets

BALANCE = 60_000_000
TAGS = ("b1", "b2")
CAN = (("Supported", "100rel, timer"),)

Act = Callable[[World], None]


def guarded(act: Act) -> Act:
    """Do it where it is possible now; asking a phone for what it does not have is no action."""

    def run(world: World) -> None:
        try:
            act(world)
        except AssertionError as error:
            if "waits with no" not in str(error) and "has no dialog" not in str(error):
                raise

    return run


def answer(who: str, status: int, tag: str) -> Act:
    def act(world: World) -> None:
        phone: Phone = getattr(world, who)
        headers = (("Contact", "<sip:+14255550123@10.0.0.4>"),) if status == 302 else ()
        phone.answer("INVITE", status, tag=tag, body=REPLY if status in (183, 200) else b"", headers=headers)

    return guarded(act)


def cancel(world: World) -> None:
    for transaction in list(world.caller.endpoint._layer.clients.values()):
        if transaction.method == "INVITE":
            world.caller.cancel(transaction)


def ack(world: World) -> None:
    world.caller.ack(world.caller.dialog())


def inside(who: str, method: str) -> Act:
    def act(world: World) -> None:
        if who == "caller":
            dialog = world.caller.dialog()
        else:
            phone: Phone = getattr(world, who)
            invites = [t for t in phone.endpoint._layer.servers.values() if t.method == "INVITE" and t.to_tag]
            if not invites:
                return
            dialog = phone.served(invites[-1])
        body = OFFER if method in ("INVITE", "UPDATE") else b"1" if method == "INFO" else b""
        getattr(world, who).send(dialog, method, body=body)

    return guarded(act)


def reply(who: str, method: str, status: int) -> Act:
    return guarded(lambda world: getattr(world, who).answer(method, status) and None)


def wait(seconds: float) -> Act:
    return lambda world: world.run(seconds)


def store(**changed: object) -> Act:
    def act(world: World) -> None:
        for name, value in changed.items():
            setattr(world.store, name, value)
        world.settle()

    return act


def fund(world: World) -> None:
    world.store.balances["contoso"] += 5_000_000
    world.b2bua.funded("contoso", world.now)
    world.settle()


def lose(every: int) -> Act:
    def act(world: World) -> None:
        seen = [0]

        def drop(source: object, target: object, data: bytes) -> bool:
            seen[0] += 1
            return every > 0 and seen[0] % every == 0

        world.lose = drop

    return act


def hang_up(world: World) -> None:
    for view in list(world.b2bua.calls(world.now)):
        world.b2bua.hang_up(view.id, world.now)
    world.settle()


ACTIONS: dict[str, Act] = {
    "invite": lambda world: world.caller.invite() and None,
    "invite late offer": lambda world: world.caller.invite(body=b"", headers=CAN) and None,
    "cancel": cancel,
    "ack": guarded(ack),
    "fund": fund,
    "hang up": hang_up,
    "end unanswered": lambda world: world.b2bua.end_unanswered(world.now),
    "end emergencies": lambda world: world.b2bua.end_emergencies(world.now),
    "slow link": lambda world: setattr(world, "delay_s", 0.02 - world.delay_s),
    **{f"lose {every}": lose(every) for every in (0, 2, 5)},
    **{f"wait {seconds}": wait(seconds) for seconds in (0.01, 0.6, 3.0, 9.0, 33.0)},
    **{f"store away {away}": store(away=away) for away in (True, False)},
    **{f"store slow {slow}": store(slow=slow) for slow in (True, False)},
    **{f"store deny {deny}": store(deny=deny) for deny in ("LIMIT_SPEND", "")},
}
for _who in ("called", "spare"):
    for _status in (180, 183, 200, 302, 408, 422, 486, 503):
        for _tag in TAGS if _status <= 200 else TAGS[:1]:
            ACTIONS[f"{_who} answers {_status} {_tag}"] = answer(_who, _status, _tag)
for _who in ("caller", "called"):
    for _method in ("BYE", "INFO", "INVITE", "UPDATE", "PRACK"):
        ACTIONS[f"{_who} sends {_method}"] = inside(_who, _method)
    for _method in ("INVITE", "UPDATE", "BYE", "INFO", "OPTIONS"):
        for _status in (200, 481, 491):
            ACTIONS[f"{_who} replies {_status} to {_method}"] = reply(_who, _method, _status)


def start(world: World, begin: str) -> None:
    """A first call as far as ``begin`` says, so that random courses do not all end at the door."""
    if begin == "talk":
        world.talk()
    elif begin == "invite":
        world.caller.invite()
    else:
        world.ring()
        if begin == "answer":
            world.called.answer("INVITE", 200, tag="b1", body=REPLY)


def behave(world: World) -> None:
    """Everybody answers what is open: hang-ups with 200, calls with 486."""
    for phone in world.phones.values():
        for transaction in list(phone.waiting):
            phone.waiting.remove(transaction)
            if transaction.method == "INVITE" and not transaction.request.to.tag:
                phone.say(transaction, 486, tag="b1")
            else:
                phone.say(transaction, 200)
    world.settle()


def rest(world: World, vanish: bool) -> None:
    store(away=False, slow=False, deny="")(world)
    world.lose = (lambda source, target, data: True) if vanish else (lambda source, target, data: False)
    for _ in range(12):
        if not vanish:
            behave(world)
        world.run(40.0)


def said_bye(world: World, answer: Request | Response) -> bool:
    """Whether a BYE was sent in the dialog that this 2xx made, by either side of it."""
    return any(
        isinstance(message, Request)
        and message.method == "BYE"
        and message.call_id == answer.call_id
        and answer.to.tag in (message.to.tag, message.from_.tag)
        for _, _, _, message in world.sent
    )


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(("invite", "ring", "answer", "talk")),
    st.lists(st.sampled_from(sorted(ACTIONS)), min_size=15, max_size=60),
    st.booleans(),
    st.sampled_from(({}, {"tariff": None, "payer": "none"}, {"tariff": None, "payer": "none", "emergency": True})),
)
def test_nothing_is_ever_stuck(begin: str, acts: list[str], vanish: bool, kind: dict[str, object]) -> None:
    verdict = allow(routes=both_targets(), **kind)
    chosen = CallSettings(tick_s=10, session_expires_s=90, ring_timeout_s=60.0, max_call_s=300, follow_redirects=True)
    world = World(Options(verdict=verdict, settings=chosen, balance=BALANCE))
    start(world, begin)
    for act in acts:
        ACTIONS[act](world)
    rest(world, vanish)
    assert world.is_clean(), [view.state for view in world.b2bua.calls(world.now)]
    assert world.endpoint.load == 0
    assert not world.store.held
    reserved = [command.call_id for command in world.store.commands if isinstance(command, Reserve)]
    closed = [c.call_id for c in world.store.commands if isinstance(c, Settle | Release | Refused)]
    assert sorted(reserved) == sorted(closed), "each call is closed once"
    assert world.store.balances["contoso"] >= 0
    if not vanish:
        answers = [message for message in map(parse, world.arrived) if is_answer(message)]
        for answer in answers:
            assert said_bye(world, answer), f"{answer.to} was answered and never ended"


def is_answer(message: Request | Response) -> bool:
    return isinstance(message, Response) and message.cseq[1] == "INVITE" and 200 <= message.status < 300
