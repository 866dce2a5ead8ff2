"""Whatever comes from the network, a gate raises nothing, forgets it in time, and loses no money.

``CALLGATE_FUZZ`` sets how many inputs (default 50,000); ``python -m tests.gateway.call.fuzz`` plays more.
"""

import multiprocessing
import os

import pytest

from gateway.call import b2bua
from gateway.sip import message
from tests.gateway.call.fuzz import ROUND, Garbled, attempt, play, recorded

INPUTS = int(os.environ.get("CALLGATE_FUZZ", "50000"))


def test_nothing_that_comes_breaks_a_gate() -> None:
    corpus, rounds = recorded(), -(-INPUTS // ROUND)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        played = list(pool.imap_unordered(attempt, ((seed, corpus) for seed in range(rounds)), 8))
    broke = [each for each in played if each.broke]
    assert not broke, f"{len(broke)} of {rounds} rounds broke; round {broke[0].seed}:\n{broke[0].broke}"


def test_calls_of_every_kind_are_what_is_mutated() -> None:
    started = {data.split(b" ", 1)[0] for data in recorded().calls}
    assert started >= {b"INVITE", b"ACK", b"BYE", b"CANCEL", b"INFO", b"UPDATE", b"SIP/2.0"}


def test_a_parser_that_raises_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "_number", lambda name, value, limit: int(value))
    with pytest.raises(ValueError, match="invalid literal"):
        _play_many()


def test_calls_that_stay_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(b2bua.B2bua, "remove", lambda self, call: None)
    with pytest.raises(AssertionError, match="are left"):
        _play_many()


def _play_many() -> None:
    corpus = recorded()
    for seed in range(20):
        play(seed, corpus)


def test_a_gate_that_hears_only_what_it_should_is_clean_too() -> None:
    world = Garbled()
    dialog, _ = world.talk()
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    assert world.is_clean()
