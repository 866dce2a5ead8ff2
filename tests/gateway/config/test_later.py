"""Keys that are not obeyed yet: each is a real key, each is said where a file gives it, and nothing else is."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.config import later, provisioning, settings
from gateway.config.describe import keys
from gateway.config.later import LATER, Later, covered, notices
from gateway.config.provisioning import Provisioning
from gateway.config.settings import Settings

KNOWN = {key.name for model in (Settings, Provisioning) for key in keys(model)}

GIVEN: dict[str, object] = {}
"""A value of each key that needs a notice; the others take an amount."""

REQUIRED: dict[str, dict[str, Any]] = {
    "trunk": {"name": "x", "role": "carrier"},
    "tenant": {"id": "t", "rate_deck": "standard"},
    "user": {"id": "u"},
    "service_number": {"number": "+18005550199", "kind": "toll", "serves": "conference", "deliver_to": "pbx"},
}


def document(key: str, value: object) -> BaseModel:
    """The smallest file that gives a key."""
    whole: dict[str, Any] = {}
    table = whole
    *above, last = key.split(".")
    for name in above:
        inner = dict(REQUIRED.get(name.removesuffix("[]"), {}))
        table[name.removesuffix("[]")] = [inner] if name.endswith("[]") else inner
        table = inner
    table[last] = value
    parse = provisioning.parse if key.startswith("tenant") else settings.parse
    return parse(whole, "file.toml", Path("/x"))


@pytest.mark.parametrize("line", LATER, ids=lambda line: line.key)
def test_a_line_names_keys_that_there_are(line: Later) -> None:
    for name in covered(line):
        assert name in KNOWN or any(known.startswith((f"{name}.", f"{name}[].")) for known in KNOWN)


def test_each_key_has_one_line() -> None:
    names = [name for line in LATER for name in covered(line)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("line", LATER, ids=lambda line: line.key)
def test_a_key_that_is_given_is_said_once(line: Later) -> None:
    (notice,) = notices(document(line.key, GIVEN.get(line.key, "20.00")), "file.toml")
    place = line.key.replace("[]", "[0]")
    assert notice.startswith(f"file.toml: {place}")
    assert notice.endswith(f": not obeyed yet, {line.meanwhile}")
    assert "xyzzy" not in notice


def test_nothing_is_said_of_defaults_that_stand_in_the_file() -> None:
    given = {"credit": {"failure_ceiling": "1.00", "gates": 1}, "payments": {"provider": "manual"}}
    assert notices(settings.parse(given, "", Path("/x")), "") == []


def test_an_amount_is_said_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "LATER", (Later("tenant[].user[].spend_limit_per_month", "nobody minds"),))
    (notice,) = notices(document("tenant[].user[].spend_limit_per_month", "20.5"), "")
    assert notice.startswith('tenant[0].user[0].spend_limit_per_month = "20.50": not obeyed yet, ')


def test_many_places_of_one_key_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "LATER", (Later("tenant[].user[].limits.max_calls", "nobody minds"),))
    users = [{"id": f"u{number}", "limits": {"max_calls": number} if number else {}} for number in range(1000)]
    given = {"tenant": [{"id": "t", "rate_deck": "standard", "user": users}]}
    (notice,) = notices(provisioning.parse(given, "", Path("/x")), "")
    assert notice.startswith("tenant[0].user[1].limits.max_calls = 1: ")
    assert notice.endswith(" (and 998 more such keys)")


def test_a_line_that_goes_takes_all_that_is_said_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[trunk]]\nname = "x"\nrole = "carrier"\noptions_ping_s = 29\n'
    given = settings.parse(tomllib.loads(text), "", Path("/x"))
    line = Later("trunk[].options_ping_s", "nobody is pinged", fine=(0, 30))
    monkeypatch.setattr(later, "LATER", (line,))
    assert len(given.notices) == 1
    monkeypatch.setattr(later, "LATER", ())
    assert given.notices == []


def test_a_value_that_stands_in_fine_needs_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Later("trunk[].options_ping_s", "nobody is pinged", fine=(0,))
    monkeypatch.setattr(later, "LATER", (line,))
    assert notices(document(line.key, 0), "") == []
    assert len(notices(document(line.key, 30), "")) == 1
