"""Redis URLs: what is understood, and what is said of the rest."""

import pytest

from gateway.credit.address import Address, AddressError, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
        ("unix:///run/my%20redis.sock?db=3", Address(path="/run/my redis.sock", db=3)),
        ("redis://localhost", Address(host="localhost")),
        ("redis://:secret@10.0.0.1:7000/2", Address("", "10.0.0.1", 7000, 2, "", "secret")),
        ("redis://gate:p%40ss@[::1]", Address("", "::1", 6379, 0, "gate", "p@ss")),
    ],
)
def test_understood(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    ["", "localhost:6379", "redis://", "unix://", "rediss://h", "redis+sentinel://h", "redis://h:x", "redis://h/x"],
)
def test_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(AddressError, match="expected"):
        parse_address(url)


def test_no_password_is_shown() -> None:
    assert "secret" not in str(parse_address("redis://:secret@host"))
    with pytest.raises(AddressError) as caught:
        parse_address("http://:secret@host")
    assert "secret" not in str(caught.value)
