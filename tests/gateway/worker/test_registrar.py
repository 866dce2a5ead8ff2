"""PBXs that register: two workers over one Redis, each with a real endpoint, and a PBX that speaks bytes."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from gateway.call.b2bua import B2bua
from gateway.call.settings import CallSettings
from gateway.credit.admin import CreditAdmin
from gateway.credit.embedded import EmbeddedRedis
from gateway.credit.registrations import Registrations
from gateway.sip.deadlines import Deadlines
from gateway.sip.digest import Credentials, Guard, Login
from gateway.sip.endpoint import ALLOWED, Endpoint, Identity
from gateway.sip.events import Flow
from gateway.sip.message import Response, parse
from gateway.worker.callers import Callers
from gateway.worker.registrar import Registrar
from policy.reasons import REASONS
from policy.verdict import Deny

PBX = Flow("udp", "192.0.2.7", 5060, 1)
KEY = b"0123456789abcdef"
ACCOUNTS = {"branch": Credentials("branch", "s3cret"), "office": Credentials("office", "other")}
REGISTER = (
    "REGISTER sip:gate SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n"
    "From: <sip:branch@gate>;tag=1\r\nTo: <sip:branch@gate>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n"
    "{headers}Content-Length: 0\r\n\r\n"
)


class Side:
    """One worker's endpoint, call machine and registrar; ``branch`` registers, ``office`` has an address."""

    def __init__(self, admin: CreditAdmin) -> None:
        self._numbers = count(1)
        self.counted: list[str] = []
        self.sent: list[Response] = []
        self.told = asyncio.Event()
        self.endpoint = Endpoint(Identity("192.0.2.1", 5060), Deadlines(), self.token, allowed=(*ALLOWED, "REGISTER"))
        self.b2bua = B2bua(
            self.endpoint, Deadlines(), lambda request, flow, now: Deny(REASONS["UNKNOWN_SOURCE"]), CallSettings(),
            self.unix_ms, self.token, self.token,
        )  # fmt: skip
        callers = self.callers = Callers(
            Guard(KEY, "callgate", ACCOUNTS), ACCOUNTS, ["branch"], unix_ms=self.unix_ms, new_token=self.token,
            count=self.counted.append,
        )  # fmt: skip
        self.registrar = Registrar(
            ["branch"], callers, admin.registered, self.endpoint, unix_ms=self.unix_ms, monotonic=time.monotonic,
            end_turn=lambda now: self.send(),
        )  # fmt: skip
        self.b2bua.hear_register = self.registrar.hear

    def token(self) -> str:
        return f"t{next(self._numbers)}"

    def unix_ms(self, now: float) -> int:
        return int(time.time() * 1000)

    def send(self) -> None:
        for _, data in self.endpoint.take_output():
            message = parse(data)
            assert isinstance(message, Response)
            self.sent.append(message)
        self.told.set()

    async def hear(self, text: str) -> Response:
        """The answer to one request."""
        self.put(text)
        return (await self.answers(1)).pop()

    def put(self, text: str) -> None:
        """Let one request arrive."""
        self.endpoint.receive(text.encode(), PBX, time.monotonic())
        for event in self.endpoint.take_events():
            self.b2bua.handle(event, time.monotonic())
        self.send()

    async def answers(self, number: int) -> list[Response]:
        """So many answers, in the order in which they were sent."""
        async with asyncio.timeout(10):
            while len(self.sent) < number:
                self.told.clear()
                await self.told.wait()
        found, self.sent = self.sent, []
        return found

    def targets(self) -> tuple[str, ...] | None:
        return self.registrar.targets("branch", time.monotonic())


class Pbx:
    """Registers, with credentials once it was asked."""

    def __init__(self, credentials: Credentials = ACCOUNTS["branch"], call_id: str = "r1") -> None:
        self._branches = count(1)
        self._cseq = count(1)
        self._call_id = call_id
        self._login = Login(credentials, lambda: "cn")

    async def register(
        self, side: Side, contact: str = "<sip:branch@192.0.2.7:5060>", expires: str = "600"
    ) -> Response:
        answer = await side.hear(self.text(contact, expires))
        if answer.status == 401 and self._login.learn(answer, set()):
            answer = await side.hear(self.text(contact, expires))
        return answer

    def text(self, contact: str, expires: str = "600") -> str:
        """The next REGISTER, with credentials where they are known."""
        headers = f"Contact: {contact}\r\nExpires: {expires}\r\n" if contact else ""
        for name, value in self._login.headers("REGISTER", "sip:gate"):
            headers += f"{name}: {value}\r\n"
        branch = f"{self._call_id}{next(self._branches)}"
        return REGISTER.format(branch=branch, call_id=self._call_id, cseq=next(self._cseq), headers=headers)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path)
    await server.ensure()
    yield server
    await server.stop()


@pytest.fixture
async def admin(redis: EmbeddedRedis) -> AsyncIterator[CreditAdmin]:
    made = CreditAdmin(redis.url, timeout_s=1.0)
    yield made
    await made.close()


async def test_a_binding_is_the_target_of_every_worker_and_survives_them(admin: CreditAdmin) -> None:
    one, other = Side(admin), Side(admin)
    answer = await Pbx().register(one)
    assert answer.status == 200
    assert re.fullmatch(r"<sip:branch@192.0.2.7:5060>;expires=(600|599)", answer.get("Contact") or "")
    assert one.targets() == ("sip:branch@192.0.2.7:5060",)
    assert one.registrar.registered_at("192.0.2.7", 5060) == "branch"
    assert one.registrar.registered_at("192.0.2.7", 5061) is None
    await other.registrar.read()
    assert other.targets() == one.targets()
    restarted = Side(admin)
    await restarted.registrar.read()
    assert restarted.targets() == one.targets()


async def test_who_only_asks_and_who_leaves(admin: CreditAdmin) -> None:
    side, pbx = Side(admin), Pbx()
    await pbx.register(side)
    assert "192.0.2.7:5060" in ((await pbx.register(side, "")).get("Contact") or "")
    gone = await pbx.register(side, "*", expires="0")
    assert (gone.status, gone.get("Contact"), side.targets()) == (200, None, ())
    assert await admin.registered.registrations(["branch"]) == [""]


async def test_two_workers_that_change_at_once_lose_nothing(admin: CreditAdmin) -> None:
    one, other = Side(admin), Side(admin)
    answers = await asyncio.gather(
        Pbx(call_id="r1").register(one, "<sip:a@192.0.2.7:5061>"),
        Pbx(call_id="r2").register(other, "<sip:a@192.0.2.7:5062>"),
    )
    assert [answer.status for answer in answers] == [200, 200]
    await one.registrar.read()
    assert sorted(one.targets() or ()) == ["sip:a@192.0.2.7:5061", "sip:a@192.0.2.7:5062"]


@pytest.mark.parametrize("credentials", [Credentials("branch", "wrong"), Credentials("nobody", "x")])
async def test_nobody_else_may_register(admin: CreditAdmin, credentials: Credentials) -> None:
    side = Side(admin)
    answer = await Pbx(credentials).register(side)
    assert answer.status == 401
    assert [value.partition(",")[0] for value in answer.all("WWW-Authenticate")] == ['Digest realm="callgate"'] * 2
    assert (side.targets(), side.counted) == ((), ["none", "wrong"])


async def test_who_registers_is_told_and_so_is_who_fails(admin: CreditAdmin) -> None:
    side = Side(admin)
    told: list[object] = []
    side.callers.offended = lambda host, wrong: told.append((host, wrong))
    side.callers.proved = lambda host: told.append((host, "proved"))
    side.registrar.heard_from = told.append
    await Pbx(Credentials("branch", "wrong")).register(side)
    assert told == [("192.0.2.7", False), ("192.0.2.7", True)]
    told.clear()
    pbx = Pbx(call_id="r2")
    await pbx.register(side)
    assert told == [("192.0.2.7", False), ("192.0.2.7", "proved"), {"192.0.2.7"}]
    await pbx.register(side, "*", expires="0")
    assert told[-1] == set()


async def test_a_trunk_with_an_address_need_not_register(admin: CreditAdmin) -> None:
    answer = await Pbx(ACCOUNTS["office"]).register(Side(admin))
    assert answer.status == 403
    assert "NO_REGISTRATION" in (answer.get("Warning") or "")


async def test_a_binding_goes_by_itself(admin: CreditAdmin) -> None:
    side = Side(admin)
    await Pbx().register(side)
    later = time.time() + 601
    side.registrar._unix_ms = lambda now: int(later * 1000)
    assert side.targets() == ()
    assert side.registrar.registered_at("192.0.2.7", 5060) is None


async def test_without_redis_it_is_503_and_what_was_bound_stays(redis: EmbeddedRedis, admin: CreditAdmin) -> None:
    side, pbx = Side(admin), Pbx()
    await pbx.register(side)
    await redis.stop()
    answer = await pbx.register(side)
    assert answer.status == 503
    assert answer.get("Retry-After") is None
    assert side.targets() == ("sip:branch@192.0.2.7:5060",)


async def test_what_others_heard_is_followed(admin: CreditAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.worker.registrar.POLL_S", 0.01)
    one, other, stopping = Side(admin), Side(admin), asyncio.Event()
    following = asyncio.create_task(other.registrar.follow(stopping))
    await Pbx().register(one)
    async with asyncio.timeout(10):
        while not other.targets():
            await asyncio.sleep(0.01)
    stopping.set()
    await following
    await one.registrar.close()


async def test_a_question_by_a_method_inside_no_dialog_is_481_as_ever(admin: CreditAdmin) -> None:
    side = Side(admin)
    text = REGISTER.format(branch="x", call_id="i1", cseq=1, headers="").replace("REGISTER", "INFO")
    assert (await side.hear(text)).status == 481


class Slow(Registrations):
    """A store whose answer to the next read of all is under way until it is let in, or that breaks."""

    def __init__(self, store: Registrations) -> None:
        self._store = store
        self.held, self.let_in = asyncio.Event(), asyncio.Event()
        self.holds = self.breaks = False
        self.reads = 0

    async def registrations(self, accounts: Sequence[str]) -> list[str]:
        self.reads += 1
        if self.breaks:
            raise UnicodeDecodeError("utf-8", b"?", 0, 1, "nobody expects it")
        found = await self._store.registrations(accounts)
        if self.holds:
            self.holds = False
            self.held.set()
            await self.let_in.wait()
        return found

    async def put_registration(self, account: str, read: str, text: str, life_ms: int) -> str | None:
        return await self._store.put_registration(account, read, text, life_ms)


async def test_an_answer_that_is_older_than_a_change_is_not_taken(admin: CreditAdmin) -> None:
    side, pbx = Side(admin), Pbx()
    slow = side.registrar._store = Slow(admin.registered)
    await pbx.register(side, "<sip:branch@192.0.2.7:5061>")
    slow.holds = True
    reading = asyncio.create_task(side.registrar.read())
    await slow.held.wait()
    await pbx.register(side, "*", expires="0")
    slow.let_in.set()
    await reading
    assert side.targets() == ()
    await side.registrar.read()
    assert side.targets() == ()


async def test_those_of_one_account_are_carried_out_as_they_came(admin: CreditAdmin) -> None:
    side, pbx = Side(admin), Pbx()
    slow = side.registrar._store = Slow(admin.registered)
    await pbx.register(side)
    slow.holds = True
    side.put(pbx.text("<sip:branch@192.0.2.7:5061>"))
    await slow.held.wait()
    side.put(pbx.text("<sip:branch@192.0.2.7:5062>"))
    for _ in range(5):  # time enough for the second to overtake the first
        await admin.registered.registrations(["branch"])
    assert side.sent == []
    slow.let_in.set()
    assert [answer.cseq for answer in await side.answers(2)] == [(3, "REGISTER"), (4, "REGISTER")]
    assert (side.targets() or ())[0] == "sip:branch@192.0.2.7:5062"


async def test_who_waited_while_redis_was_away_waits_no_longer(redis: EmbeddedRedis, admin: CreditAdmin) -> None:
    side, pbx = Side(admin), Pbx()
    slow = side.registrar._store = Slow(admin.registered)
    await pbx.register(side)
    await redis.stop()
    for port in range(5061, 5071):
        side.put(pbx.text(f"<sip:branch@192.0.2.7:{port}>"))
    read = slow.reads
    assert {answer.status for answer in await side.answers(10)} == {503}
    assert slow.reads == read + 1


async def test_a_fault_is_answered_with_500_and_ends_no_reading(
    admin: CreditAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.worker.registrar.POLL_S", 0.01)
    side, pbx, stopping = Side(admin), Pbx(), asyncio.Event()
    slow = side.registrar._store = Slow(admin.registered)
    slow.breaks = True
    following = asyncio.create_task(side.registrar.follow(stopping))
    answer = await pbx.register(side)
    assert answer.status == 500
    assert "INTERNAL" in (answer.get("Warning") or "")
    async with asyncio.timeout(10):
        while slow.reads < 4:
            await asyncio.sleep(0.01)
        slow.breaks = False
        await Pbx(call_id="r2").register(Side(admin))
        while not side.targets():
            await asyncio.sleep(0.01)
    stopping.set()
    await following
