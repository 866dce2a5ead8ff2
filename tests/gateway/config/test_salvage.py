"""All that is wrong with a file in one pass: wrong values, and contradictions between values that are right."""

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway.config import provisioning, settings
from gateway.config.problems import ConfigError, WrongValue
from gateway.config.salvage import Wrong, readable, salvage, told
from gateway.config.settings import Settings

Parse = Callable[[dict[str, object], str, Path], BaseModel]

BOTH = """
[sip]
listen = ["udp://0.0.0.0:5060", "udp://nowhere", "udp://127.0.0.1:5060", "udp://127.0.0.1:5060"]
workers = 20
ring_timeout_s = 0
session_expires_s = 60
[redis]
url = "http://127.0.0.1"
partitions = 0
[ledger]
url = "mysql://h/x"
[[trunk]]
name = "pbx"
role = "access"
hosts = ["127.0.0.1", "here", "10.0.0.1"]
[[trunk]]
name = "pbx"
role = "peer"
hosts = ["10.0.0.1", "127.0.0.1"]
[[trunk]]
name = "a b"
role = "carrier"
tenant = "contoso"
hosts = ["10.0.0.2"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["10.0.0.2"]
"""

PROVISIONED = """
[[rate_deck]]
name = "standard"
currency = "EUR"
file = "there.csv"
[[rate_deck]]
name = "standard"
currency = "euro"
file = "not-there.csv"
[[tenant]]
id = "contoso"
rate_deck = "standard"
credit_limit = "5.00"
country = "USA"
limits = { max_calls = -1 }
recharge = { enabled = true, trigger = "a lot" }
dial_plan = [{ pattern = '^1$', translation = "$1" }, { pattern = "(", translation = "$1" }]
[[tenant.user]]
id = "alice"
number = "+14255550100"
blocked = 1
[[tenant.user]]
id = "alice"
number = "+14255550100"
[[tenant.service_number]]
number = "+14255550100"
kind = "tolled"
serves = "conference"
deliver_to = "pbx"
"""


def keys(text: str, parse: Parse = settings.parse, base: Path = Path("/x")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads(text), "", base)
    return [problem.key for problem in caught.value.problems]


def test_wrong_settings_and_contradictions_are_told_together() -> None:
    assert keys(BOTH) == [
        "sip.listen[1]",
        "sip.ring_timeout_s",
        "redis.partitions",
        "trunk[0].hosts[1]",
        "trunk[1].role",
        "trunk[2].name",
        "sip.listen[3]",
        "sip.listen[0]",
        "sip.worker_ports",
        "sip.session_expires_s",
        "redis.url",
        "ledger.url",
        "trunk[1].name",
        "trunk[1].hosts[0]",
        "trunk[1].hosts[1]",
        "trunk[3].hosts[0]",
        "trunk[0].tenant",
    ]


def test_wrong_provisioning_and_contradictions_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "there.csv").touch()
    assert keys(PROVISIONED, provisioning.parse, tmp_path) == [
        "rate_deck[1].currency",
        "tenant[0].country",
        "tenant[0].limits.max_calls",
        "tenant[0].recharge.trigger",
        "tenant[0].dial_plan[1].pattern",
        "tenant[0].user[0].blocked",
        "tenant[0].service_number[0].kind",
        "rate_deck[1].file",
        "rate_deck[1].name",
        "tenant[0].user[1].number",
        "tenant[0].service_number[0].number",
        "tenant[0].user[1].id",
        "tenant[0].credit_limit",
        "tenant[0].rate_deck",
        "tenant[0].recharge.amount",
        "tenant[0].dial_plan[0].translation",
    ]


@pytest.mark.parametrize(
    ("text", "told_of"),
    [
        ('[sip]\nworkers = 20\nworker_ports = "x"\n', ["sip.worker_ports"]),
        ('[sip]\nworkers = "many"\nworker_ports = "5070"\n', ["sip.workers"]),
        ("[sip]\nworkers = 2\nworker_ports = [5070]\n", ["sip.worker_ports"]),
        ("[sip]\nworkers = 20\nworker_port = 1\n", ["sip.worker_port"]),
        ("[sip]\nworkers = 20\nnonsense = 1\n", ["sip.nonsense", "sip.worker_ports"]),
        ('[sip]\nlisten = ["udp://0.0.0.0:5060"]\nadvertise = 3\n', ["sip.advertise"]),
        ("sip = 3\n", ["sip"]),
        ("redis = 3\n", ["redis"]),
        ("trunk = [3]\n", ["trunk[0]"]),
        ('[[trunk]]\nname = "x"\nrole = "access"\ntenat = "contoso"\n', ["trunk[0].tenat"]),
        ('[[trunk]]\nname = "x"\nrole = "access"\ntenant = ""\n', ["trunk[0].tenant"]),
        ('[[trunk]]\nname = "x"\ntenant = "contoso"\n', ["trunk[0].role"]),
    ],
)
def test_what_follows_from_a_wrong_value_is_not_told_as_well(text: str, told_of: list[str]) -> None:
    assert keys(text) == told_of


def test_what_is_right_is_kept_and_what_is_wrong_cannot_be_read() -> None:
    text = '[sip]\nworkers = 4\nt1_s = "x"\nlisten = ["tcp://127.0.0.1:1", "x"]\n[credit]\nfailure_ceiling = "2.5"\n'
    found = salvage(Settings, tomllib.loads(text + "[[trunk]]\nname = 'x'\n"), Path("/x"))
    assert (found.sip.workers, found.sip.t2_s, found.credit.failure_ceiling_micros) == (4, 4, 2_500_000)
    assert str(found.sip.listen[0]) == "tcp://127.0.0.1:1"
    assert found.trunk[0].name == "x"
    for read in (lambda: found.sip.t1_s, lambda: found.sip.listen[1].host, lambda: found.trunk[0].role):
        with pytest.raises(WrongValue):
            read()
    with pytest.raises(AttributeError):
        found.sip.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_rules_end_where_they_meet_a_wrong_value_and_the_others_go_on() -> None:
    def rule(*values: Any) -> Any:
        for value in values:
            yield value.strip(), "", ""

    assert [key for key, *_ in told(rule("a", Wrong(), "b"), rule("c"))] == ["a", "c"]
    assert list(readable(["a", Wrong(), "b"], lambda each: each.upper())) == [(0, "A"), (2, "B")]
    assert Wrong() != Wrong()


ANYTHING = st.recursive(
    st.sampled_from([None, True, 0, -1, 3, 1.5, "", "x", "$1", "(", "udp://[", "sip:h", "+1", "file:x", "1.00", "\0"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "x"]), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inner for place in ((*above, key), *places(each, (*above, key)))]


@given(st.sampled_from([(BOTH, settings.parse), (PROVISIONED, provisioning.parse)]), st.data())
def test_whatever_stands_anywhere_every_file_is_answered_with_problems(file: tuple[str, Parse], data: Any) -> None:
    text, parse = file
    document = copy.deepcopy(tomllib.loads(text))
    for place in data.draw(st.lists(st.sampled_from(places(document)), min_size=1, max_size=3)):
        table: Any = document
        try:
            for key in place[:-1]:
                table = table[key]
            table[place[-1]] = data.draw(ANYTHING)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    with pytest.raises(ConfigError) as caught:
        parse(document, "", Path("/x"))
    told_of = [problem.key for problem in caught.value.problems]
    assert len(told_of) == len(set(told_of))
