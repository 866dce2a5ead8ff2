"""What a worker keeps, and how much of it at most."""

import pytest

from gateway.call.commands import Answer, Prove, Refused, Release, Reserve, Settle
from gateway.call.record import CallRecord, decode_record
from gateway.credit import kept
from gateway.credit.kept import Keeper, Kept
from gateway.credit.refusals import RefusedRows
from policy.verdict import Limits


def reserve(call: str) -> Reserve:
    return Reserve(call, "t", None, 60, 90, Limits(), b"a", b"u")


def settle(call: str) -> Settle:
    return Settle(call, "t", 0, 0, b"{}")


def test_a_live_call_is_known_by_its_furthest_grant() -> None:
    keeper = Keeper()
    keeper.grant_first(reserve("c"), 60, 600, False)
    live = keeper.live["c"]
    live.grant(2, 180, 1800, True)
    live.grant(1, 120, 1200, False)
    keeper.grant_first(reserve("c"), 60, 600, False)
    assert (live.tick, live.paid_s, live.held_micros, live.final) == (2, 180, 1800, True)
    live.answer(Answer("c", "t", 7, b"b"))
    live.prove(Prove("c", "t", 30, b"c"))
    live.prove(Prove("c", "t", 20, None))
    assert (live.answered_ms, live.proven_s, live.adoption, live.usage) == (7, 30, b"c", b"u")


def test_a_call_that_was_given_up_is_not_live_again() -> None:
    keeper = Keeper()
    keeper.close(Release("c", "t", b"{}"))
    keeper.grant_first(reserve("c"), 60, 600, False)
    assert keeper.live == {}


def test_a_charge_stays_until_it_is_acknowledged_booked_and_out_of_danger() -> None:
    keeper = Keeper()
    keeper.grant_first(reserve("c"), 60, 600, False)
    charge = keeper.close(settle("c"))
    assert charge is not None
    assert (keeper.close(settle("c")), keeper.live, keeper.unacknowledged) == (None, {}, 1)
    keeper.acknowledge(charge, now=10.0)
    keeper.acknowledge(charge, now=11.0)
    assert keeper.unacknowledged == 0
    keeper.book(["c", "c", "unknown"], now=12.0)
    keeper.forget(now=12.0 + kept.LOSS_WINDOW_S - 0.1)
    assert "c" in keeper.kept
    keeper.forget(now=12.0 + kept.LOSS_WINDOW_S)
    assert keeper.kept == {}


def test_a_charge_that_was_booked_before_its_acknowledgement_came() -> None:
    keeper = Keeper()
    charge = keeper.close(settle("c"))
    assert charge is not None
    keeper.book(["c"], now=0.0)
    keeper.forget(now=100.0)
    assert "c" in keeper.kept
    keeper.acknowledge(charge, now=100.0)
    keeper.forget(now=100.0 + kept.LOSS_WINDOW_S)
    assert keeper.kept == {}


def test_a_charge_that_had_to_be_said_again_is_in_danger_anew() -> None:
    keeper = Keeper()
    charge = keeper.close(settle("c"))
    assert charge is not None
    keeper.acknowledge(charge, now=0.0)
    keeper.book(["c"], now=1.0)
    keeper.unsay(charge)
    keeper.acknowledge(charge, now=4.0)
    keeper.forget(now=1.0 + kept.LOSS_WINDOW_S)
    assert "c" in keeper.kept
    keeper.forget(now=4.0 + kept.LOSS_WINDOW_S)
    assert keeper.kept == {}


def test_a_charge_that_is_said_again_counts_as_unacknowledged() -> None:
    keeper = Keeper()
    charge = keeper.close(settle("c"))
    assert charge is not None
    charge.sent = True
    keeper.acknowledge(charge, now=0.0)
    keeper.unsay(charge)
    keeper.unsay(charge)
    assert (keeper.unacknowledged, list(keeper.waiting())) == (1, [charge])
    keeper.drop("c")
    assert (keeper.unacknowledged, keeper.kept) == (0, {})


def test_what_an_older_start_left_is_kept_once_and_waits() -> None:
    keeper = Keeper()
    own = keeper.close(settle("own"))
    assert own is not None
    for call in ("own", "left", "left"):
        keeper.take_over(Kept(settle(call), None, was_dirty=True))
    assert (list(keeper.kept), keeper.unacknowledged, keeper.kept["own"]) == (["own", "left"], 2, own)
    keeper.grant_first(reserve("left"), 60, 600, False)
    assert keeper.live == {}


def test_redis_may_lack_what_it_did_not_acknowledge_and_when_away_its_last_writes_too() -> None:
    keeper = Keeper()
    charges = [keeper.close(settle(call)) for call in ("a", "b", "c", "d")]
    for charge in charges[:3:2]:
        assert charge is not None
        keeper.acknowledge(charge, now=0.0)
    assert [kept.command.call_id for kept in keeper.doubtful(up=True)] == ["b", "d"]
    assert [kept.command.call_id for kept in keeper.doubtful(up=False)] == ["b", "d", "c", "a"]
    assert [keeper.is_taken(call) for call in ("a", "b", "gone")] == [True, False, True]


def test_the_oldest_acknowledged_charges_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_MAX", 3)
    keeper = Keeper()
    keeper.close(settle("unsent"))
    for number in range(5):
        charge = keeper.close(settle(f"c{number}"))
        assert charge is not None
        keeper.acknowledge(charge, now=0.0)
    assert list(keeper.kept) == ["unsent", "c2", "c3", "c4"]


def test_what_is_remembered_of_forgotten_charges_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_MAX", 3)
    keeper = Keeper()
    for number in range(50):
        charge = keeper.close(settle(f"c{number}"))
        assert charge is not None
        keeper.acknowledge(charge, now=0.0)
        keeper.unsay(charge)
        keeper.acknowledge(charge, now=0.0)
        if number:
            keeper.book([f"c{number}"], now=0.0)
            keeper.forget(now=kept.LOSS_WINDOW_S)
    assert list(keeper.kept) == ["c0"]
    assert len(keeper._acknowledged) <= 1 + 2 * kept.KEPT_MAX


def test_refused_calls_beyond_the_rate_are_one_row_for_each_trunk() -> None:
    rows = RefusedRows(per_s=2)

    def refused(number: int, trunk: str) -> Refused:
        return Refused(f"{trunk}{number}", "t", trunk, CallRecord(f"{trunk}{number}", "t", "user_out").encode())

    assert [rows.admit(refused(number, "pbx"), True) for number in range(4)] == [True, True, False, False]
    assert [rows.admit(refused(number, "sbc"), False) for number in range(3)] == [False, False, False]
    counted = {row.trunk: decode_record(row.record) for row in rows.sum_up()}
    assert {trunk: (record.call_id, record.count) for trunk, record in counted.items()} == {
        "pbx": ("pbx3", 2),
        "sbc": ("sbc2", 3),
    }
    assert rows.sum_up() == []
    assert rows.admit(refused(9, "pbx"), True)


@pytest.mark.parametrize("owed", [(), ("c",)])
def test_a_call_that_redis_may_lack_is_said_with_its_charge(owed: tuple[str, ...]) -> None:
    """A merge of it is under way and may be lost with the connection: without its reservation the charge is refused."""
    keeper = Keeper()
    keeper.grant_first(reserve("c"), None, 0, False)
    keeper.owed = owed
    over = keeper.close(settle("c"))
    assert over is not None
    assert over.again == bool(owed)
