import gc
import time
import weakref
from collections.abc import Iterator

import pytest

from gateway.worker.garbage import NEVER_ROUNDS, QUIET_COLLECT_S, YOUNG_OBJECTS, Garbage


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Ring:
    def __init__(self) -> None:
        self.me = self


def test_the_start_is_frozen_and_the_oldest_left_alone() -> None:
    garbage = Garbage()
    garbage.begin()
    garbage.settle_down()
    assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert gc.get_threshold()[2] == NEVER_ROUNDS
    assert gc.get_freeze_count() > 10_000


def test_a_directory_that_came_later_is_frozen_too() -> None:
    garbage = Garbage()
    garbage.settle_down()
    frozen = gc.get_freeze_count()
    directory = [Ring() for _ in range(1_000)]
    garbage.keep()
    assert gc.get_freeze_count() >= frozen + len(directory)


def test_a_rest_collects_what_slipped_through_but_not_too_often() -> None:
    garbage = Garbage()
    ring = Ring()
    gone = weakref.ref(ring)
    del ring
    garbage.take_rest(time.monotonic())
    assert gone() is not None
    garbage.take_rest(time.monotonic() + QUIET_COLLECT_S)
    assert gone() is None
