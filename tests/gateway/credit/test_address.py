"""Redis URLs: what is understood, and what is said of the rest."""

import pytest

from gateway.credit.address import Address, AddressError, Cluster, Sentinels, Tls, Whereabouts, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
        ("unix:///run/my%20redis.sock?db=3", Address(path="/run/my redis.sock", db=3)),
        ("redis://localhost", Address(host="localhost")),
        ("redis://:secret@10.0.0.1:7000/2", Address("", "10.0.0.1", 7000, 2, "", "secret")),
        ("redis://gate:p%40ss@[::1]", Address("", "::1", 6379, 0, "gate", "p@ss")),
        ("redis://gate:p%40ss@[::1]:7000", Address("", "::1", 7000, 0, "gate", "p@ss")),
        ("rediss://h", Address("", "h", tls=Tls())),
        ("rediss://h/2?ssl_ca_certs=/ca.crt", Address("", "h", 6379, 2, tls=Tls("/ca.crt"))),
        ("rediss://h?ssl_certfile=/c%20d&ssl_keyfile=/k", Address("", "h", tls=Tls("", "/c d", "/k"))),
        ("redis+sentinel://h/s", Sentinels((("h", 26379),), "s", Address())),
        (
            "redis+sentinel://u:p@h:1,[::1]:2,i/s?db=3&sentinel_username=v&sentinel_password=w",
            Sentinels((("h", 1), ("::1", 2), ("i", 26379)), "s", Address("", "", 6379, 3, "u", "p"), "v", "w"),
        ),
        ("redis+sentinel://h/s?ssl=true", Sentinels((("h", 26379),), "s", Address(tls=Tls()))),
        ("redis+sentinel://h/s?ssl=false", Sentinels((("h", 26379),), "s", Address())),
        ("redis+cluster://:p@h,i:7", Cluster((("h", 6379), ("i", 7)), Address(password="p"))),
        ("redis+cluster://h?ssl_ca_certs=/ca", Cluster((("h", 6379),), Address(tls=Tls("/ca")))),
        ("rediss://h?ssl_check_hostname=false", Address("", "h", tls=Tls(check_hostname=False))),
    ],
)
def test_understood(url: str, address: Whereabouts) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "redis://",
        "unix://",
        "redis+sentinel://h",
        "redis://h:x",
        "redis://h/x",
        "redis://h:0",
        "rediss://h?ssl_ca_cert=/ca.crt",
        "redis://h?ssl_ca_certs=/ca.crt",
        "rediss://h?ssl_check_hostname=no",
        "rediss://h?ssl_keyfile=/k",
        "redis://user:secret/pass@h",
        "redis+sentinel://h,,i/s",
        "redis+sentinel://h/s/0",
        "redis+sentinel://h/s?ssl=maybe",
        "redis+cluster://h/1",
        "redis+cluster://" + ",".join(["h"] * 65),
    ],
)
def test_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(AddressError, match="expected") as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


def test_no_password_is_shown() -> None:
    assert "secret" not in str(parse_address("redis://:secret@host"))
    for url in ("redis+sentinel://:secret@h/s?sentinel_password=secret", "redis+cluster://:secret@h"):
        assert "secret" not in str(parse_address(url))
    with pytest.raises(AddressError) as caught:
        parse_address("http://:secret@host")
    assert "secret" not in str(caught.value)
