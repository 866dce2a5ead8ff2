import pytest

from gateway.call import headers, session_timer, targets
from gateway.sip import uri
from gateway.sip.errors import BadUri
from gateway.sip.kept import KEPT_CHARS_MAX, kept


def test_a_short_text_is_read_once_and_a_long_one_each_time() -> None:
    read: list[str] = []

    @kept(10)
    def length(text: str) -> int:
        read.append(text)
        return len(text)

    short, long = "x" * KEPT_CHARS_MAX, "x" * (KEPT_CHARS_MAX + 1)
    assert [length(short), length(short), length(long), length(long)] == [300, 300, 301, 301]
    assert read == [short, long, long]


def test_there_are_never_more_than_may_be() -> None:
    read: list[str] = []

    @kept(3)
    def same(text: str) -> str:
        read.append(text)
        return text

    for text in "abcab":
        same(text)
    assert read == ["a", "b", "c"]
    same("d")
    assert same.__self__.keys() == {"d"}  # type: ignore[attr-defined]


def test_what_is_raised_is_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(BadUri):
            uri.parse_uri("nothing")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (uri.parse_uri, "sip:{}@192.0.2.1"),
        (headers._options, "x{}"),
        (headers._methods, "x{}"),
        (session_timer._names_timer, "x{}"),
        (session_timer._expires, "1800;x={}"),
        (targets._flow_to, "sip:{}@192.0.2.1"),
        (targets._flow_of_route, "<sip:{}@192.0.2.1;lr>"),
    ],
)
def test_no_peer_can_fill_the_memory_with_long_values(read: object, text: str) -> None:
    held = read.__self__  # type: ignore[attr-defined]
    for number in range(20):
        held[text.format(f"{number}" * 30_000)]
    assert all(len(each) <= KEPT_CHARS_MAX for each in held)
    held[text.format(1)]
    assert text.format(1) in held
