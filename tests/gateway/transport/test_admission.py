from hypothesis import given
from hypothesis import strategies as st

from gateway.config.values import parse_host_rule
from gateway.transport.admission import SOURCES_REMEMBERED, Bucket, Gate, Sources


def sources(**hosts: list[str]) -> Sources:
    return Sources({trunk: [parse_host_rule(entry) for entry in entries] for trunk, entries in hosts.items()})


def test_the_most_specific_entry_wins_whatever_the_order() -> None:
    found = sources(
        net=["10.0.0.0/8"], subnet=["10.1.0.0/16"], host=["10.1.2.3"], port=["10.1.2.3:5061"], six=["[::1]:5062"]
    )
    assert found.trunk("10.1.2.3", 5061) == "port"
    assert found.trunk("10.1.2.3", 5060) == "host"
    assert found.trunk("10.1.9.9", 5060) == "subnet"
    assert found.trunk("10.9.9.9", 5061) == "net"
    assert found.trunk("::1", 5062) == "six"
    assert found.trunk("::1", 5060) is None
    assert found.trunk("192.0.2.1", 5060) is None


def test_an_entry_with_a_port_lets_its_address_connect_but_is_no_trunk_by_itself() -> None:
    found = sources(port=["127.0.0.9:5061"])
    assert found.knows("127.0.0.9")
    assert found.trunk("127.0.0.9", 40000) is None
    assert not found.knows("127.0.0.8")


def test_addresses_are_known_by_networks_of_any_length() -> None:
    networks = ["10.0.0.0/8", "192.0.2.128/25", "192.0.2.1", "2001:db8::/32", "2001:db9::1"]
    found = sources(some=networks, port=["192.0.2.9:1"])
    for host in ("10.255.0.1", "192.0.2.129", "192.0.2.1", "2001:db8:ffff::1", "2001:db9::1", "192.0.2.9"):
        assert found.knows(host), host
    for host in ("11.0.0.1", "192.0.2.127", "192.0.2.2", "2001:dba::1", "2001:db9::2", "::a00:1"):
        assert not found.knows(host), host


def test_strangers_push_no_known_source_out() -> None:
    found = sources(pbx=["192.0.2.1"])
    assert found.trunk("192.0.2.1", 5060) == "pbx"
    for number in range(2 * SOURCES_REMEMBERED):
        assert found.trunk(f"10.0.{number >> 8 & 255}.{number & 255}", number) is None
    assert found._remembered == {("192.0.2.1", 5060): "pbx"}


def test_what_is_no_address_is_no_trunk() -> None:
    found = sources(all=["0.0.0.0/0", "::/0"])
    assert found.trunk("pbx.example.org", 5060) is None
    assert not found.knows("")
    assert found.trunk("fe80::1%eth0", 5060) == "all"


def test_a_flood_of_sources_is_forgotten_not_kept() -> None:
    found = sources(all=["10.0.0.0/8"])
    for number in range(SOURCES_REMEMBERED + 10):
        assert found.trunk("10.0.0.1", number) == "all"
    assert len(found._remembered) <= SOURCES_REMEMBERED


def test_a_bucket_gives_its_rate_at_once_and_then_evenly() -> None:
    bucket = Bucket(10)
    assert [bucket.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert bucket.take(100.11)
    assert not bucket.take(100.16)
    assert bucket.take(100.22)


def test_a_bucket_is_never_fuller_than_its_rate() -> None:
    bucket = Bucket(3)
    assert bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True] * 3 + [False]


def test_a_share_below_one_a_second_still_lets_calls_in() -> None:
    bucket = Bucket(0.5)
    assert bucket.take(0.0)
    assert not bucket.take(1.0)
    assert bucket.take(2.1)


@given(st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200), st.integers(1, 20))
def test_a_bucket_never_gives_more_than_rate_and_burst(gaps: list[float], rate: int) -> None:
    bucket, now, taken = Bucket(rate), 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
    assert taken <= rate + rate * (now - gaps[0]) + 1e-6


def test_the_gate_keeps_two_percent_for_emergencies() -> None:
    gate = Gate(max_calls=100, max_calls_per_second=1000)
    assert gate.refusal(97, 0.0) is None
    assert gate.refusal(98, 0.0) == "GATE_CALLS"


def test_a_small_gate_takes_as_many_calls_as_it_says() -> None:
    gate = Gate(max_calls=5, max_calls_per_second=1000)
    assert gate.refusal(4, 0.0) is None
    assert gate.refusal(5, 0.0) == "GATE_CALLS"


def test_workers_share_the_limits() -> None:
    gate = Gate(max_calls=40, max_calls_per_second=4, workers=2)
    assert gate.refusal(20, 0.0) == "GATE_CALLS"
    assert [gate.refusal(0, 0.0) for _ in range(3)] == [None, None, "GATE_CALLS_PER_SECOND"]


def test_a_call_refused_for_the_number_of_calls_takes_no_token() -> None:
    gate = Gate(max_calls=1, max_calls_per_second=1)
    assert gate.refusal(1, 0.0) == "GATE_CALLS"
    assert gate.refusal(0, 0.0) is None
