from gateway.worker.ending import Ending


def test_the_first_request_drains_the_second_ends_at_once() -> None:
    ending = Ending()
    ending.asked()
    assert ending.drain.is_set()
    assert not ending.now.is_set()
    ending.asked()
    assert ending.now.is_set()


def test_an_orphan_ends_at_once() -> None:
    ending = Ending()
    ending.orphaned()
    assert ending.drain.is_set()
    assert ending.now.is_set()
