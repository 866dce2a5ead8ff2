import time
import uuid

from gateway.transport.handoff import owner
from gateway.worker.tokens import BLOCK_TOKENS, Tokens, call_ids, own_call_ids


def test_tokens_do_not_repeat() -> None:
    tokens = Tokens()
    made = {tokens() for _ in range(BLOCK_TOKENS * 3)}
    assert len(made) == BLOCK_TOKENS * 3
    assert all(len(token) == 16 and set(token) <= set("0123456789abcdef") for token in made)


def test_call_ids_of_a_worker_hash_to_it() -> None:
    make = own_call_ids(Tokens(), 2, 3)
    assert all(owner(make().encode(), [0, 1, 2]) == 2 for _ in range(50))


def test_a_lone_worker_takes_any_call_id() -> None:
    make = own_call_ids(Tokens(), 0, 1)
    assert {owner(make().encode(), [0]) for _ in range(50)} == {0}


def test_calls_have_uuids_that_rise_with_time() -> None:
    before = time.time_ns() // 1_000_000
    make = call_ids(Tokens())
    made = [uuid.UUID(make()) for _ in range(1000)]
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert len(set(made)) == 1000
    assert {str(one)[19] for one in made} == set("89ab")
    assert all(before <= one.int >> 80 <= time.time_ns() // 1_000_000 for one in made)
