"""The ladder: messages kept by leg, bounded, and drawn as arrows."""

from pathlib import Path

import pytest

from gateway.sip.events import Flow
from gateway.telemetry import ladder
from gateway.telemetry.ladder import Ladder, LadderTap, Rung, draw, summary

PBX = Flow("udp", "127.0.0.2", 5060)
CARRIER = Flow("udp", "127.0.0.3", 5060)


def message(first: str, call_id: str, cseq: str = "1 INVITE", name: str = "Call-ID") -> bytes:
    return f"{first}\r\nVia: SIP/2.0/UDP h\r\nCSeq: {cseq}\r\n{name}: {call_id}\r\n\r\n".encode()


@pytest.fixture
def tap() -> LadderTap:
    return LadderTap(Ladder(100), lambda now: int(now * 1000))


def play(tap: LadderTap) -> None:
    tap(PBX, message("INVITE sip:+14255550100@127.0.0.1 SIP/2.0", "a"), 1.0, sent=False)
    tap(PBX, message("SIP/2.0 100 Trying", "a"), 1.0, sent=True)
    tap(CARRIER, message("INVITE sip:+14255550100@127.0.0.3 SIP/2.0", "b"), 1.0, sent=True)
    tap(CARRIER, message("SIP/2.0 200 OK", "b"), 1.5, sent=False)
    tap(PBX, message("SIP/2.0 200 OK", "a", name="i"), 1.501, sent=True)


def test_both_legs_are_told_in_order(tap: LadderTap) -> None:
    play(tap)
    rungs = tap.ladder.rungs(("a", "b"))
    assert [(rung.at_ms, rung.sent, summary(rung.text)) for rung in rungs] == [
        (1000, False, "INVITE sip:+14255550100@127.0.0.1"),
        (1000, True, "100 Trying (INVITE)"),
        (1000, True, "INVITE sip:+14255550100@127.0.0.3"),
        (1500, False, "200 OK (INVITE)"),
        (1501, True, "200 OK (INVITE)"),
    ]


def test_a_ladder_is_drawn(tap: LadderTap) -> None:
    play(tap)
    gate, invite, _, onward, answer, _ = draw(tap.ladder.rungs(("a", "b"))).splitlines()
    assert gate.split() == ["gate", "udp:127.0.0.2:5060", "udp:127.0.0.3:5060"]
    assert invite.startswith("    0.000 │◄─")
    assert "INVITE sip:+14255550100@127.0.0.1" in invite
    assert invite.count("│") == 3
    assert onward.endswith("─►│")
    assert answer.startswith("    0.500 │◄─")
    assert len({len(line) for line in (invite, onward, answer)}) == 1


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw([]) == ""


def test_legs_and_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "MESSAGES_MAX", 3)
    kept = Ladder(2)
    for leg in ("a", "b", "c"):
        for order in range(5):
            kept.keep(leg, Rung(0, order, True, "p", "x"))
    assert kept.rungs(["a"]) == []
    assert [rung.order for rung in kept.rungs(["c"])] == [2, 3, 4]


def test_long_messages_are_cut(tap: LadderTap) -> None:
    tap(PBX, message("SIP/2.0 200 OK", "a") + b"x" * 100_000, 1.0, sent=True)
    assert len(tap.ladder.rungs(["a"])[0].text) == ladder.MESSAGE_BYTES_MAX


def test_what_has_no_call_id_is_passed_over(tap: LadderTap) -> None:
    tap(PBX, b"\r\n\r\n", 1.0, sent=False)
    tap(PBX, b"\xff\xfe", 1.0, sent=False)
    assert tap.ladder.rungs([""]) == []


def test_a_ladder_travels_by_file(tap: LadderTap, tmp_path: Path) -> None:
    play(tap)
    tap.ladder.write(tmp_path / "ladder-0.json")
    again = Ladder(100)
    again.read(tmp_path / "ladder-0.json")
    assert again.rungs(("a", "b")) == tap.ladder.rungs(("a", "b"))


def test_a_summary_has_a_width() -> None:
    assert len(summary(f"INVITE sip:{'9' * 100}@h SIP/2.0")) == ladder.LABEL_CHARS_MAX
