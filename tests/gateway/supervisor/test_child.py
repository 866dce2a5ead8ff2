import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.config.settings import Settings
from gateway.supervisor import child as child_module
from gateway.supervisor.child import Child
from gateway.worker.plan import GIVEN_UP, Plan

READS_PLAN = "import sys; from gateway.worker.plan import read_plan; plan = read_plan(sys.stdin.buffer); "
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    settings = Settings.model_validate({"node": {"data_dir": tmp_path}})
    return Plan(role="worker", settings=settings, redis_url="", ledger_url="", instance="x")


class Watched:
    """A child that runs a line of Python, and an event for each change it tells."""

    def __init__(self, plan: Plan, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        self.died: list[int] = []
        self.told = asyncio.Event()
        command = (sys.executable, "-c", code)
        self.child = Child("worker 0", plan, self.told.set, self.died.append, command)
        self.keeping = asyncio.create_task(self.child.keep())

    async def until(self, what: str) -> None:
        async with asyncio.timeout(10):
            while not eval(what, {"child": self.child, "died": self.died}):
                self.told.clear()
                await self.told.wait()


async def test_a_process_gets_its_plan_says_ready_and_ends_when_asked(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        READS_PLAN + "print('noise'); print('ready' if plan.instance == 'x' else 'wrong', flush=True); sys.stdin.read()"
    )
    watched = Watched(plan, code, monkeypatch)
    await watched.until("child.ready")
    pid = watched.child.pid
    await watched.child.stop(1.0)
    await asyncio.wait_for(watched.keeping, 5)
    assert watched.died == [pid]
    assert watched.child.pid is None


async def test_a_killed_process_is_started_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(plan, READS_PLAN + "print('ready', flush=True); sys.stdin.read()", monkeypatch)
    await watched.until("child.ready")
    first = watched.child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await watched.until("child.deaths == 1")
    await watched.until("child.ready")
    assert watched.died == [first]
    assert watched.child.pid != first
    await watched.child.stop(1.0)
    await watched.keeping


async def test_a_process_that_keeps_dying_is_started_ever_later(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def noted(self: Child, pause_s: float, status: int) -> None:
        pauses.append(pause_s)
        if len(pauses) == 4:
            self._stopping.set()

    monkeypatch.setattr(child_module.Child, "_pause", noted)
    watched = Watched(plan, "raise SystemExit(1)", monkeypatch)
    await asyncio.wait_for(watched.keeping, 10)
    assert pauses == [0.0, 0.5, 1.0, 2.0]


async def test_a_process_that_gives_up_stays_down(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(plan, f"raise SystemExit({GIVEN_UP})", monkeypatch)
    await asyncio.wait_for(watched.keeping, 10)
    assert watched.child.given_up
    assert len(watched.died) == 1


async def test_a_process_that_does_not_end_is_killed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "KILL_AFTER_S", 0.1)
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READS_PLAN + "print('ready', flush=True)\n"
    )
    watched = Watched(plan, code + "while True: signal.pause()", monkeypatch)
    await watched.until("child.ready")
    pid = watched.child.pid
    await watched.child.stop(0.0)
    await asyncio.wait_for(watched.keeping, 5)
    assert watched.died == [pid]


async def test_a_process_that_is_hurried_has_no_more_than_a_moment(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its drain might have taken."""
    monkeypatch.setattr(child_module, "KILL_AFTER_S", 0.1)
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READS_PLAN + "print('ready', flush=True)\n"
    )
    watched = Watched(plan, code + "while True: signal.pause()", monkeypatch)
    await watched.until("child.ready")
    stopping = asyncio.create_task(watched.child.stop(60.0))
    await asyncio.sleep(0)
    watched.child.hurry()
    await asyncio.wait_for(stopping, 5)
    await asyncio.wait_for(watched.keeping, 5)


async def test_a_pause_ends_when_the_gate_ends(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "BACKOFF_S", (60.0,))
    watched = Watched(plan, "raise SystemExit(1)", monkeypatch)
    await watched.until("child.deaths == 1")
    await watched.child.stop(0.0)
    await asyncio.wait_for(watched.keeping, 5)


async def test_a_disk_too_full_to_note_a_death_does_not_end_the_keeping(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(plan, READS_PLAN + "print('ready', flush=True); sys.stdin.read()", monkeypatch)
    deaths: list[int] = []

    def died(pid: int) -> None:
        deaths.append(pid)
        raise OSError(28, "No space left on device")

    watched.child._died = died
    await watched.until("child.ready")
    first = watched.child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await watched.until(f"child.ready and child.pid != {first}")
    await watched.child.stop(1.0)
    await asyncio.wait_for(watched.keeping, 5)
    assert deaths[0] == first


async def test_a_process_that_cannot_be_started_is_tried_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.0,))
    watched = Watched(plan, "", monkeypatch)
    watched.child._command = ("/nowhere/python",)
    await watched.until("child.deaths >= 3")
    assert watched.died == []
    await watched.child.stop(1.0)
    await asyncio.wait_for(watched.keeping, 5)


async def test_a_process_that_prints_without_end_is_started_anew(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.0,))
    watched = Watched(plan, READS_PLAN + "print('x' * 200_000, flush=True); sys.stdin.read()", monkeypatch)
    await watched.until("child.deaths >= 2")
    await watched.child.stop(1.0)
    await asyncio.wait_for(watched.keeping, 5)
