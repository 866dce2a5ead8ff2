"""Digest as server and as client: the RFCs' own examples, and every way in which credentials can be wrong."""

from itertools import count

import pytest

from gateway.sip import digest as room
from gateway.sip.digest import (
    COUNTS_MAX,
    NONCE_LIFETIME_S,
    Credentials,
    Guard,
    Login,
    Outcome,
    answer_to,
    digest,
    read_fields,
)
from gateway.sip.message import Request, Response, parse

KEY = b"0123456789abcdef"
PBX = Credentials("pbx", "s3cret")
NOW_S = 1_700_000_000
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
HOST = "10.0.0.2"

# RFC 7616 3.9.1
MUFASA = {
    "realm": "http-auth@example.org",
    "uri": "/dir/index.html",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "nc": "00000001",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    "qop": "auth",
}


def request(method: str = "INVITE", *, number: str = "+14255550123", call_id: str = "c1", headers: str = "") -> Request:
    message = parse(
        f"{method} sip:{number}@gate SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:pbx@pbx>;tag=1\r\nTo: <sip:{number}@gate>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n"
        f"Contact: <sip:{HOST}>\r\n{headers}Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


def challenge(*lines: str, status: int = 401) -> Response:
    text = "".join(f"{line}\r\n" for line in lines)
    message = parse(
        f"SIP/2.0 {status} Unauthorized\r\nVia: SIP/2.0/UDP {HOST}:5060;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:c@d>;tag=2\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n{text}Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message


class Rig:
    """A guard, and a peer that answers what it challenges with."""

    def __init__(self, **accounts: Credentials) -> None:
        self.guard = Guard(KEY, "callgate", accounts or {"pbx": PBX})
        self._numbers = count(1)

    def token(self) -> str:
        return f"t{next(self._numbers)}"

    def challenges(self, asked: Request, host: str = HOST, now_s: int = NOW_S) -> Response:
        made = self.guard.challenge(asked, host, self.token(), now_s, ["pbx"])
        return challenge(*(f"{name}: {value}" for name, value in made))

    def login(self, asked: Request, credentials: Credentials = PBX, now_s: int = NOW_S) -> Login:
        login = Login(credentials, self.token)
        assert login.learn(self.challenges(asked, now_s=now_s), set())
        return login

    def answered(self, credentials: Credentials = PBX, **asked: str) -> Request:
        first = request(**asked)
        ((name, value),) = self.login(first, credentials).headers(first.method, first.uri)
        return request(headers=f"{name}: {value}\r\n", **asked)

    def outcome(self, asked: Request, host: str = HOST, now_s: int = NOW_S, account: str = "") -> Outcome:
        return self.guard.check(asked, host, now_s, [account] if account else ["pbx", "shop"]).outcome


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm: str, response: str) -> None:
    secret = digest(algorithm, "Mufasa", MUFASA["realm"], "Circle of Life")
    assert answer_to(algorithm, secret, "GET", MUFASA) == response


def test_the_client_gives_the_answer_of_rfc_7616() -> None:
    fields = ", ".join(f'{name}="{MUFASA[name]}"' for name in ("realm", "nonce"))
    head = f'WWW-Authenticate: Digest {fields}, qop="auth, auth-int", opaque="{OPAQUE}"'
    login = Login(Credentials("Mufasa", "Circle of Life"), lambda: MUFASA["cnonce"])
    # both algorithms in two lines (RFC 8760 2.3), the weaker one first: the stronger is taken
    assert login.learn(challenge(f"{head}, algorithm=MD5", f"{head}, algorithm=SHA-256"), set())
    ((name, value),) = login.headers("GET", "/dir/index.html")
    given = read_fields(value)
    assert name == "Authorization"
    assert given is not None
    assert given["response"] == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    assert (given["nc"], given["qop"], given["algorithm"]) == ("00000001", "auth", "SHA-256")
    assert given["opaque"] == OPAQUE


def test_without_qop_the_answer_is_that_of_rfc_2069() -> None:
    login = Login(Credentials("alice", "x"), lambda: "cn")
    assert login.learn(challenge('WWW-Authenticate: Digest realm="r", nonce="n"'), set())
    given = read_fields(login.headers("INVITE", "sip:b")[0][1])
    assert given is not None
    assert "qop" not in given
    assert "nc" not in given
    ha1, ha2 = digest("MD5", "alice", "r", "x"), digest("MD5", "INVITE", "sip:b")
    assert given["response"] == digest("MD5", ha1, "n", ha2)


def test_the_integrity_of_the_body_is_given_where_nothing_else_is_offered() -> None:
    login = Login(PBX, lambda: "cn")
    assert login.learn(challenge('WWW-Authenticate: Digest realm="r", nonce="n", qop="auth-int"'), set())
    one, other = (read_fields(login.headers("INVITE", "sip:b", body)[0][1]) for body in (b"v=0", b"v=1"))
    assert one is not None
    assert other is not None
    assert one["qop"] == "auth-int"
    assert one["response"] != other["response"]


def test_md5_is_offered_first_for_peers_that_look_at_one_challenge_alone() -> None:
    made = Rig().guard.challenge(request(), HOST, "t", NOW_S, ["pbx"])
    assert [read_fields(value)["algorithm"] for _, value in made] == ["MD5", "SHA-256"]  # type: ignore[index]
    assert all('qop="auth"' in value and "stale" not in value for _, value in made)


def test_right_credentials_are_right_once() -> None:
    rig = Rig()
    answered = rig.answered()
    assert rig.guard.check(answered, HOST, NOW_S, ["pbx"]) == (Outcome.RIGHT, "pbx")
    assert rig.outcome(answered) is Outcome.STALE


def test_md5_is_enough() -> None:
    rig, asked = Rig(), request()
    md5 = [
        f"{name}: {value}" for name, value in rig.guard.challenge(asked, HOST, "t", NOW_S, ["pbx"]) if "MD5" in value
    ]
    login = Login(PBX, rig.token)
    assert login.learn(challenge(*md5), set())
    name, value = login.headers("INVITE", asked.uri)[0]
    assert rig.outcome(request(headers=f"{name}: {value}\r\n")) is Outcome.RIGHT


def test_an_account_may_be_kept_to_its_algorithms() -> None:
    shop = Credentials("shop", "x")
    guard = Guard(KEY, "callgate", {"pbx": PBX, "shop": shop}, {"pbx": ("MD5",), "shop": ("SHA-256", "MD5")})

    def offered(*among: str) -> list[str]:
        made = guard.challenge(request(), HOST, "t", NOW_S, among)
        return [value.rpartition("=")[2] for _, value in made]

    assert [offered("pbx"), offered("shop"), offered("pbx", "shop")] == [
        ["MD5"],
        ["SHA-256", "MD5"],
        ["MD5", "SHA-256"],
    ]
    login = Login(PBX, lambda: "cn")
    assert login.learn(
        challenge(*(": ".join(each) for each in guard.challenge(request(), HOST, "t", NOW_S, ["shop"]))), set()
    )
    name, value = login.headers("INVITE", request().uri)[0]
    assert "SHA-256" in value
    assert guard.check(request(headers=f"{name}: {value}\r\n"), HOST, NOW_S, ["pbx"]).outcome is Outcome.WRONG


def test_a_nonce_goes_on_with_a_higher_count() -> None:
    rig, asked = Rig(), request()
    login = rig.login(asked)
    for _ in range(3):
        name, value = login.headers("INVITE", asked.uri)[0]
        assert rig.outcome(request(headers=f"{name}: {value}\r\n")) is Outcome.RIGHT


def test_no_credentials_ask_for_some() -> None:
    rig = Rig()
    assert rig.outcome(request()) is Outcome.NONE
    others = 'Authorization: Digest username="pbx", realm="elsewhere", nonce="n", uri="sip:x", response="0"\r\n'
    assert rig.outcome(request(headers=others)) is Outcome.NONE
    assert rig.outcome(request(headers="Authorization: Basic cGJ4OnMzY3JldA==\r\n")) is Outcome.NONE


@pytest.mark.parametrize("credentials", [Credentials("pbx", "wrong"), Credentials("nobody", "s3cret")])
def test_a_wrong_password_and_an_unknown_user_look_the_same(credentials: Credentials) -> None:
    rig = Rig()
    assert rig.outcome(rig.answered(credentials)) is Outcome.WRONG


def test_an_unknown_user_costs_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    asked = [rig.answered(each) for each in (Credentials("pbx", "wrong"), Credentials("nobody", "s3cret"))]
    hashes: list[tuple[str, ...]] = []

    def noted(*parts: str) -> str:
        hashes.append(parts)
        return digest(*parts)

    monkeypatch.setattr(room, "digest", noted)
    counted = []
    for each in asked:
        rig.outcome(each)
        counted.append([len(parts) for parts in hashes])
        hashes.clear()
    assert counted[0] == counted[1] != []


def test_credentials_of_another_trunk_are_wrong_for_this_one() -> None:
    rig = Rig(pbx=PBX, shop=Credentials("shop", "other"))
    answered = rig.answered(Credentials("shop", "other"))
    assert rig.outcome(answered, account="pbx") is Outcome.WRONG
    assert rig.guard.check(answered, HOST, NOW_S, ["pbx", "shop"]) == (Outcome.RIGHT, "shop")


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"number": "+19005550000"}, Outcome.WRONG),  # credentials for another number
        ({"method": "REGISTER"}, Outcome.WRONG),
        ({"call_id": "c2"}, Outcome.STALE),  # copied into another call
    ],
)
def test_credentials_are_for_one_request(change: dict[str, str], outcome: Outcome) -> None:
    rig = Rig()
    value = rig.answered().get("Authorization")
    assert rig.outcome(request(headers=f"Authorization: {value}\r\n", **change)) is outcome


def test_credentials_are_for_one_source() -> None:
    rig = Rig()
    assert rig.outcome(rig.answered(), host="10.0.0.9") is Outcome.STALE


def test_a_nonce_ends() -> None:
    rig = Rig()
    assert rig.outcome(rig.answered(), now_s=NOW_S + NONCE_LIFETIME_S) is Outcome.RIGHT
    assert rig.outcome(rig.answered(), now_s=NOW_S + NONCE_LIFETIME_S + 1) is Outcome.STALE
    assert rig.outcome(rig.answered(), now_s=NOW_S - 10) is Outcome.STALE  # of the future


def test_workers_with_one_key_know_each_others_nonces() -> None:
    rig, other = Rig(), Guard(KEY, "callgate", {"pbx": PBX})
    assert other.check(rig.answered(), HOST, NOW_S, ["pbx"]).outcome is Outcome.RIGHT
    stranger = Guard(b"another key of 16", "callgate", {"pbx": PBX})
    assert stranger.check(rig.answered(), HOST, NOW_S, ["pbx"]).outcome is Outcome.STALE


def test_stale_is_said() -> None:
    rig = Rig()
    made = rig.guard.challenge(request(), HOST, "t", NOW_S, ["pbx"], stale=True)
    assert all(value.endswith("stale=true") for _, value in made)


def test_an_address_without_a_user_is_taken_as_the_gate_itself() -> None:
    rig, asked = Rig(), request()
    name, value = rig.login(asked).headers("INVITE", "sip:gate:5060")[0]
    assert rig.outcome(request(headers=f"{name}: {value}\r\n")) is Outcome.RIGHT


@pytest.mark.parametrize(
    "change",
    [
        ("qop=auth", "qop=auth-int"),
        (", qop=auth", ""),
        ("nc=00000001", "nc=1"),
        ("algorithm=SHA-256", "algorithm=SHA-1"),
        ('response="', 'response="0'),
        ('uri="sip:', 'uri="bad scheme:'),
        ("username=", "usernam="),
    ],
)
def test_credentials_that_are_not_whole_are_wrong(change: tuple[str, str]) -> None:
    rig = Rig()
    value = (rig.answered().get("Authorization") or "").replace(*change)
    assert rig.outcome(request(headers=f"Authorization: {value}\r\n")) is Outcome.WRONG


@pytest.mark.parametrize(
    "text", ["Digest", "Digest a", "Digest a=1,a=2", "Basic a=1", "Digest a=" + "1" * 3000, 'Digest a="']
)
def test_what_is_no_list_of_fields_is_none(text: str) -> None:
    assert not read_fields(text)


def test_the_memory_of_counts_is_bounded_and_stays_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "COUNTS_MAX", 3)
    assert COUNTS_MAX > 1000
    rig = Rig()
    asked = []
    for second in range(5):
        first = request(call_id=f"c{second}")
        name, value = rig.login(first, now_s=NOW_S + second).headers("INVITE", first.uri)[0]
        asked.append(request(call_id=f"c{second}", headers=f"{name}: {value}\r\n"))
    assert [rig.outcome(each, now_s=NOW_S + 5) for each in asked] == [Outcome.RIGHT] * 5
    assert [rig.outcome(each, now_s=NOW_S + 5) for each in asked] == [Outcome.STALE] * 5
    assert len(rig.guard._counts) <= 3


def test_a_client_does_not_ask_for_ever() -> None:
    login, answered = Login(PBX, lambda: "cn"), set[tuple[str, str]]()
    asks = 'WWW-Authenticate: Digest realm="r", nonce="{}", qop="auth"{}'
    assert login.learn(challenge(asks.format("1", "")), answered)
    assert login.learn(challenge(asks.format("2", ", stale=TRUE")), answered)
    assert not login.learn(challenge(asks.format("3", "")), answered)
    for number in range(20):
        if not login.learn(challenge(asks.format(number, ", stale=true")), answered):
            break
    else:
        pytest.fail("a peer that says stale for ever is asked for ever")
    assert login.learn(challenge(asks.format("4", "")), set())  # the next request may be asked again


def test_a_proxy_and_the_far_end_are_both_answered() -> None:
    login, answered = Login(PBX, lambda: "cn"), set[tuple[str, str]]()
    assert login.learn(challenge('Proxy-Authenticate: Digest realm="p", nonce="1"', status=407), answered)
    assert login.learn(challenge('WWW-Authenticate: Digest realm="e", nonce="2"'), answered)
    assert [name for name, _ in login.headers("INVITE", "sip:b")] == ["Proxy-Authorization", "Authorization"]


@pytest.mark.parametrize(
    "line",
    [
        'WWW-Authenticate: Digest realm="r"',
        'WWW-Authenticate: Digest realm="r", nonce="n", algorithm=AKAv1-MD5',
        'WWW-Authenticate: Digest realm="r", nonce="n", qop="other"',
        'WWW-Authenticate: Basic realm="r"',
        'Proxy-Authenticate: Digest realm="r", nonce="n"',
    ],
)
def test_a_challenge_that_cannot_be_answered_is_a_refusal(line: str) -> None:
    assert not Login(PBX, lambda: "cn").learn(challenge(line), set())


def test_two_challenges_in_one_line() -> None:
    login = Login(PBX, lambda: "cn")
    line = (
        'WWW-Authenticate: Digest realm="r", nonce="a", algorithm=MD5, Digest realm="r", nonce="b", algorithm=SHA-256'
    )
    assert login.learn(challenge(line), set())
    assert "SHA-256" in login.headers("INVITE", "sip:b")[0][1]


def test_a_password_does_not_show() -> None:
    assert "s3cret" not in repr(PBX)


def test_a_nonce_is_not_used_again_after_a_restart() -> None:
    rig = Rig()
    used, unused = rig.answered(), rig.answered(call_id="c2")
    assert rig.outcome(used) is Outcome.RIGHT
    rig.guard = Guard(KEY, "callgate", {"pbx": PBX}, began_s=NOW_S)  # in the very second of that nonce
    assert rig.outcome(used) is Outcome.STALE
    assert rig.outcome(unused) is Outcome.STALE
    # one that it makes itself is fresh from the first moment on, also for a worker that began before
    anew = rig.answered(call_id="c3")
    assert rig.outcome(anew) is Outcome.RIGHT
    assert Guard(KEY, "callgate", {"pbx": PBX}).check(anew, HOST, NOW_S, ["pbx"]).outcome is Outcome.RIGHT


def test_a_challenge_in_the_realm_that_is_refused_is_not_answered() -> None:
    login = Login(PBX, lambda: "cn", "callgate")
    own = 'WWW-Authenticate: Digest realm="callgate", nonce="1", qop="auth"'
    assert not login.learn(challenge(own), set())
    assert login.learn(challenge(own, 'WWW-Authenticate: Digest realm="pbx", nonce="2", qop="auth"'), set())
    assert [read_fields(value)["realm"] for _, value in login.headers("INVITE", "sip:b")] == ["pbx"]  # type: ignore[index]


def test_the_oldest_of_many_realms_is_forgotten_and_a_known_one_never_refused() -> None:
    login = Login(PBX, lambda: "cn")
    for number in [*range(12), 11, 4]:
        asked = f'WWW-Authenticate: Digest realm="r{number}", nonce="n", qop="auth"'
        assert login.learn(challenge(asked), set())
    realms = [read_fields(value)["realm"] for _, value in login.headers("INVITE", "sip:b")]  # type: ignore[index]
    assert realms == ["r5", "r6", "r7", "r8", "r9", "r10", "r11", "r4"]
