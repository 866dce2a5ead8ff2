import pytest

from gateway.transport.strangers import (
    BANS_LOGGED_PER_MINUTE,
    BANS_MAX,
    EXPECTED_MAX,
    OFFENCES_WITHIN_S,
    SOURCES_MAX,
    WRONG_CREDENTIALS,
    StrangerLimits,
    Strangers,
)

OPTIONS = b"OPTIONS sip:gate SIP/2.0\r\n"
GARBAGE = b"\x00\x01\x02\x03\x04\x05"
TRUNK = "192.0.2.1"


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def judge(clock: Clock, **limits: float) -> Strangers:
    given = {"per_second": 10, "all_per_second": 1000, "all_calls_per_second": 20, "offences": 5, "ban_s": 60} | limits
    return Strangers(lambda host: host == TRUNK, StrangerLimits(**given), clock)  # type: ignore[arg-type]


def banned(clock: Clock, host: str = "198.51.100.1") -> Strangers:
    strangers = judge(clock)
    for _ in range(5):
        strangers.admits(host, GARBAGE)
    assert strangers.is_banned(host)
    return strangers


def test_a_source_has_its_rate_and_gets_it_anew_each_second(clock: Clock) -> None:
    strangers = judge(clock, offences=1000)
    assert sum(strangers.admits("198.51.100.1", OPTIONS) for _ in range(50)) == 10
    assert strangers.admits("198.51.100.2", OPTIONS)
    clock.now += 1
    assert sum(strangers.admits("198.51.100.1", OPTIONS) for _ in range(50)) == 10
    assert strangers.dropped == {"banned": 0, "garbage": 0, "rate": 80, "strangers": 0}


def test_what_exceeds_the_rate_bans_for_a_while(clock: Clock) -> None:
    strangers = judge(clock)
    admitted = [strangers.admits("198.51.100.1", OPTIONS) for _ in range(20)]
    assert admitted == [True] * 10 + [False] * 10
    assert strangers.dropped["rate"] == 5
    assert strangers.dropped["banned"] == 5
    assert strangers.bans == 1
    clock.now += 59
    strangers.tend()
    assert not strangers.admits("198.51.100.1", OPTIONS)
    clock.now += 1
    strangers.tend()
    assert strangers.bans == 0
    assert strangers.admits("198.51.100.1", OPTIONS)


def test_offences_are_those_of_a_minute(clock: Clock) -> None:
    strangers = judge(clock)
    for _ in range(10):
        assert not strangers.admits("198.51.100.1", GARBAGE)
        clock.now += OFFENCES_WITHIN_S / 4
    assert not strangers.is_banned("198.51.100.1")


def test_a_ban_time_of_nothing_bans_nobody(clock: Clock) -> None:
    strangers = judge(clock, ban_s=0)
    for _ in range(100):
        strangers.admits("198.51.100.1", GARBAGE)
    assert strangers.bans == 0


@pytest.mark.parametrize(
    "data",
    [
        OPTIONS,
        b"\r\n\r\n" + OPTIONS,
        b"SIP/2.0 200 OK\r\n",
        b"INVITE sip:a b SIP/7.0\r\n",
        b"options sip:x sip/2.0\r\n",
        b"\r\n\r\n",
        b"\r\n",
        b"\x00\x00\x00\x00",
        b"",
    ],
)
def test_what_may_be_sip_is_let_through(clock: Clock, data: bytes) -> None:
    assert judge(clock).admits("198.51.100.1", data)


@pytest.mark.parametrize(
    "data",
    [GARBAGE, b"GET / HTTP/1.1\r\n", b"x" * 65_507, b"\r\n" * 30_000, b"A " * 30_000, b"INVITE sip:x\r\nSIP/2.0"],
)
def test_what_cannot_be_sip_is_not(clock: Clock, data: bytes) -> None:
    strangers = judge(clock)
    assert not strangers.admits("198.51.100.1", data)
    assert strangers.dropped["garbage"] == 1


def test_all_strangers_together_have_a_rate_and_are_not_blamed_for_each_other(clock: Clock) -> None:
    strangers = judge(clock, all_per_second=20)
    admitted = sum(strangers.admits(f"198.51.100.{last}", OPTIONS) for last in range(200))
    assert admitted == 20
    assert strangers.dropped["strangers"] == 180
    assert strangers.bans == 0


def test_calls_of_strangers_are_few_and_each_is_an_offence(clock: Clock) -> None:
    strangers, invite = judge(clock, all_calls_per_second=3), b"INVITE sip:1@gate SIP/2.0\r\n"
    assert sum(strangers.admits(f"198.51.100.{last}", invite) for last in range(10)) == 3
    assert strangers.admits("198.51.100.1", OPTIONS)
    assert strangers.dropped["strangers"] == 7
    for _ in range(4):
        strangers.admits("198.51.100.1", invite)
    assert strangers.is_banned("198.51.100.1")


def test_credentials_count(clock: Clock) -> None:
    strangers = judge(clock, offences=2 * WRONG_CREDENTIALS)
    strangers.blame("198.51.100.1", True)
    for _ in range(WRONG_CREDENTIALS - 1):
        strangers.blame("198.51.100.1", False)
    assert not strangers.is_banned("198.51.100.1")
    strangers.blame("198.51.100.1", False)
    assert strangers.is_banned("198.51.100.1")
    strangers.blame("198.51.100.1", True)
    assert strangers.bans == 1


def test_who_is_known_is_never_blamed(clock: Clock) -> None:
    strangers = judge(clock)
    strangers.register({"203.0.113.1"})
    strangers.expect("203.0.113.2")
    for host in (TRUNK, "203.0.113.1", "203.0.113.2"):
        assert strangers.knows(host)
        for _ in range(100):
            strangers.blame(host, True)
    assert strangers.bans == 0


def test_a_ban_ends_where_a_source_becomes_known(clock: Clock) -> None:
    strangers = banned(clock, "203.0.113.1")
    strangers.register({"203.0.113.1"})
    assert not strangers.is_banned("203.0.113.1")
    assert strangers.bans == 0
    strangers = banned(clock, "203.0.113.1")
    strangers.expect("203.0.113.1")
    assert strangers.bans == 0


def test_a_registration_that_ends_makes_its_source_a_stranger_again(clock: Clock) -> None:
    strangers, forgotten = judge(clock), []
    strangers.on_forget = lambda: forgotten.append(True)
    strangers.register({"203.0.113.1"})
    strangers.register({"203.0.113.1", "203.0.113.2"})
    assert not forgotten
    strangers.register({"203.0.113.2"})
    assert forgotten
    assert not strangers.knows("203.0.113.1")


def test_forged_sources_cost_no_memory_and_end_no_ban(clock: Clock) -> None:
    strangers = banned(clock)
    for number in range(2 * SOURCES_MAX):
        strangers.admits(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", GARBAGE)
    assert len(strangers._sources) == SOURCES_MAX
    assert strangers.is_banned("198.51.100.1")


def test_bans_and_expected_addresses_have_an_end(clock: Clock) -> None:
    strangers = judge(clock, offences=1)
    for number in range(BANS_MAX + 10):
        strangers.admits(f"10.0.{number >> 8}.{number & 255}", GARBAGE)
    assert strangers.bans == BANS_MAX
    assert strangers.is_banned("10.0.0.0")
    for number in range(EXPECTED_MAX + 10):
        strangers.expect(f"10.1.{number >> 8}.{number & 255}")
        strangers.expect("203.0.113.1")
    assert len(strangers._expected) == EXPECTED_MAX
    assert strangers.knows("203.0.113.1")
    assert not strangers.knows("10.1.0.0")


def test_one_line_tells_of_a_ban_and_not_of_each_datagram(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    strangers = judge(clock)
    for _ in range(1000):
        strangers.admits("198.51.100.1", GARBAGE)
    assert capsys.readouterr().out.count("source banned") == 1
    for number in range(3 * BANS_LOGGED_PER_MINUTE):
        for _ in range(5):
            strangers.admits(f"10.0.0.{number}", GARBAGE)
    assert capsys.readouterr().out.count("source banned") == BANS_LOGGED_PER_MINUTE - 1


def test_of_ipv6_a_source_is_its_half(clock: Clock) -> None:
    strangers = banned(clock, "2001:db8:0:1::1")
    assert strangers.is_banned("2001:db8:0:1:ffff::9%eth0")
    assert not strangers.is_banned("2001:db8:0:2::1")
    assert not strangers.is_banned("no address: at all")
