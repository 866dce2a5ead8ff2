"""The parts of the benchmark: what a call costs, how long set-up takes, how exact a cut is, what a live call weighs."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from loadtest.bench.flood import KINDS
from loadtest.bench.proc import cpu_s, idle_s, pss_bytes
from loadtest.bench.processes import Children, StartError
from loadtest.bench.sipp import CALLER, CALLER_WAITS, Sipp, SippCall, calls_of
from loadtest.bench.subject import (
    DRY_TALK_S,
    GateSubject,
    Subject,
    called_numbers,
    dry_callers,
    load_callers,
    pairs_of,
)
from loadtest.histogram import Histogram

HOLD_MS: Final = 1000
RING_MS: Final = 50
"""Ring time: long enough that 180 and 200 are apart, as in a real call."""

SPARE_S: Final = 10.0
"""How much longer than its calls a SIPp may take before the part counts the rest as failed."""

FLOOD_LEAD_S: Final = 2.0
"""How long a flood goes on before the first call."""

CAPACITY_STEPS: Final = 12
"""Runs at most to find the highest clean rate."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a stretch of calls went: ``us_per_call`` is processor time by role."""

    cps: float
    calls: int
    ok: int
    failed: int
    retransmissions: int
    us_per_call: dict[str, float]
    booked_in_time: bool
    idle_share: float


class Bench:
    """Runs parts against subjects; every called number is used once."""

    def __init__(self, children: Children, folder: Path) -> None:
        self._children = children
        self._folder = folder
        self._runs: Iterator[int] = count(1)
        self._used = 0
        self.answered: dict[str, int] = {}

    def rate(self, subject: Subject, cps: int, seconds: float) -> dict[str, Any]:
        """Processor time a call at ``cps``: reserved, answered, talked for a second, settled, booked."""
        load, _ = self._load(subject, cps, int(cps * seconds), HOLD_MS)
        return asdict(load)

    def delay(self, subject: Subject, cps: int, seconds: float) -> dict[str, Any]:
        """Set-up delay added: INVITE from caller to callee and 180 back, at ``cps``, from both ends' traces."""
        load, calls = self._load(subject, cps, int(cps * seconds), HOLD_MS, trace=True)
        added = Histogram()
        for call in calls.values():
            forth = _between(call.uac, "sent INVITE", call.uas, "heard INVITE")
            back = _between(call.uas, "sent 180", call.uac, "heard 180")
            if forth is not None and back is not None:
                added.add(forth + back)
        return {"cps": cps, "failed": load.failed, "retransmissions": load.retransmissions, "added_ms": added.summary()}

    def flood(self, subject: GateSubject, cps: int, rate: int, seconds: float) -> list[dict[str, Any]]:
        """Set-up delay added at ``cps``, without a flood and then beside each kind of ``rate`` messages a second."""
        found = [{"kind": "none", **self.delay(subject, cps, seconds)}]
        return found + [self._flooded(subject, kind, cps, rate, seconds) for kind in KINDS]

    def _flooded(self, subject: GateSubject, kind: str, cps: int, rate: int, seconds: float) -> dict[str, Any]:
        """The flood begins before the calls and goes on until the last of them has ended."""
        log = self._folder / f"flood-{kind}.log"
        lasts_s = FLOOD_LEAD_S + seconds + HOLD_MS / 1000 + 2
        command = [sys.executable, "-m", "loadtest.bench.flood", kind, str(subject.sip), str(rate), str(lasts_s)]
        before = subject.gate.metrics()
        sender = self._children.start(command, log)
        time.sleep(FLOOD_LEAD_S)
        measured = self.delay(subject, cps, seconds)
        if sender.wait(lasts_s + SPARE_S):
            raise StartError(f"the {kind} flood broke: {log.read_text().strip()[-500:]}")
        time.sleep(1.0)  # until the counters are written
        after = subject.gate.metrics()
        dropped = {
            name.partition('"')[2].partition('"')[0]: int(value - before.get(name, 0))
            for name, value in after.items()
            if name.startswith("callgate_dropped_messages_total{")
        }
        banned = int(after.get("callgate_banned_sources", 0))
        said = json.loads(log.read_text().splitlines()[-1])
        return {"kind": kind, **measured, "flood": said, "dropped": dropped, "banned": banned}

    def cut(self, subject: Subject, calls: int) -> dict[str, Any]:
        """Cut error of ``calls`` calls that run dry within one second: BYE at each leg minus the exact moment."""
        caller, callee = self._pair()
        called = self._numbers(calls)
        callee.start_callee(subject.places.callee, 0, trace=True)
        try:
            caller.start_caller(
                subject.places.caller, subject.sip, pairs_of(dry_callers(calls), called), calls,
                scenario=CALLER_WAITS, trace=True, options=["-recv_timeout", str((DRY_TALK_S + 30) * 1000)],
            )  # fmt: skip
            caller.wait(1 + DRY_TALK_S + 30 + SPARE_S)
        finally:
            caller.stop()
            callee.stop()
        subject.wait_booked()
        return self._cuts(subject, calls, calls_of(caller, callee))

    def memory(self, subject: Subject, calls: int, cps: int) -> dict[str, Any]:
        """Bytes of the worker per live call: its share of memory with ``calls`` calls up, minus without."""
        self._load(subject, min(cps, 100), 100, 200)  # what the first calls load once is not theirs
        before = pss_bytes(subject.pids()["worker"])
        caller, callee = self._pair()
        ramp_s = calls / cps
        hold_ms = int((ramp_s + 5) * 1000)
        pairs = pairs_of(load_callers(), self._numbers(calls))
        callee.start_callee(subject.places.callee)
        try:
            caller.start_caller(subject.places.caller, subject.sip, pairs, cps, hold_ms=hold_ms)
            time.sleep(ramp_s + 2)
            live = caller.statistics().get("TotalCallCreated", 0) or calls
            held = pss_bytes(subject.pids()["worker"])
            caller.wait(ramp_s + hold_ms / 1000 + SPARE_S)
        finally:
            caller.stop()
            callee.stop()
        subject.wait_booked()
        ok = caller.statistics().get("SuccessfulCall", 0)
        self._note(subject, ok)
        per_call = (held - before) / max(1, live)
        return {"calls": calls, "failed": calls - ok, "bytes_per_call": round(per_call), "idle_mib": _mib(before)}

    def capacity(self, subject: Subject, start_cps: int, seconds: float) -> dict[str, Any]:
        """The highest rate with 0 failed and 0 retransmitted: half as much again until it breaks, then halving."""
        good, bad, cps = 0, 0, start_cps
        for _ in range(CAPACITY_STEPS):
            load, _ = self._load(subject, cps, int(cps * seconds), 500)
            if load.failed or load.retransmissions:
                bad = cps
            else:
                good = cps
            if bad and bad - good <= max(25, good // 20):
                break
            cps = (good + bad) // 2 if bad else cps + cps // 2
        return {"cps": good, "first_not_clean": bad or None}

    def _load(
        self, subject: Subject, cps: int, calls: int, hold_ms: int, *, trace: bool = False
    ) -> tuple[Load, dict[str, SippCall]]:
        caller, callee = self._pair()
        pairs = pairs_of(load_callers(), self._numbers(calls))
        callee.start_callee(subject.places.callee, RING_MS, trace=trace)
        pids = subject.pids()
        before = {role: cpu_s(ids) for role, ids in pids.items()}
        idle = idle_s()
        try:
            caller.start_caller(
                subject.places.caller, subject.sip, pairs, cps, scenario=CALLER, hold_ms=hold_ms, trace=trace
            )
            caller.wait(calls / cps + hold_ms / 1000 + SPARE_S)
            after_idle = idle_s()
        finally:
            caller.stop()
            time.sleep(0.1)
            callee.stop()
        booked = subject.wait_booked()
        after = {role: cpu_s(ids) for role, ids in pids.items()}
        ends = [caller.statistics(), callee.statistics()]
        ok = ends[0].get("SuccessfulCall", 0)
        self._note(subject, ok)
        load = Load(
            cps=cps,
            calls=calls,
            ok=ok,
            failed=calls - ok,
            retransmissions=sum(end.get("Retransmissions", 0) for end in ends),
            us_per_call={role: round((after[role] - before[role]) * 1e6 / max(1, ok), 1) for role in pids},
            booked_in_time=booked,
            idle_share=round((after_idle[0] - idle[0]) / max(0.01, after_idle[1] - idle[1]), 2),
        )
        return load, calls_of(caller, callee) if trace else {}

    def _cuts(self, subject: Subject, asked: int, calls: dict[str, SippCall]) -> dict[str, Any]:
        errors, caller_errors, callee_errors = Histogram(), Histogram(), Histogram()
        both = answered = 0
        for call in calls.values():
            answer = call.uas.get("sent 200 INVITE")
            if answer is None:
                continue
            answered += 1
            byes = [(caller_errors, call.uac.get("heard BYE")), (callee_errors, call.uas.get("heard BYE"))]
            both += all(bye is not None for _, bye in byes)
            for end, bye in byes:
                if bye is not None:
                    end.add(bye - answer - DRY_TALK_S)
                    errors.add(bye - answer - DRY_TALK_S)
        self._note(subject, answered)
        return {
            "calls": asked,
            "answered": answered,
            "both_legs": both,
            "error_ms": errors.summary(),
            "caller_error_ms": caller_errors.summary(),
            "callee_error_ms": callee_errors.summary(),
        }

    def _pair(self) -> tuple[Sipp, Sipp]:
        run = next(self._runs)
        return Sipp(self._children, self._folder, f"caller-{run}"), Sipp(self._children, self._folder, f"callee-{run}")

    def _numbers(self, calls: int) -> list[str]:
        self._used += calls
        return called_numbers(self._used - calls, calls)

    def _note(self, subject: Subject, answered: int) -> None:
        self.answered[subject.name] = self.answered.get(subject.name, 0) + answered


def _between(first: dict[str, float], sent: str, second: dict[str, float], heard: str) -> float | None:
    if sent not in first or heard not in second:
        return None
    return second[heard] - first[sent]


def _mib(size: int) -> float:
    return round(size / 1024 / 1024, 1)
