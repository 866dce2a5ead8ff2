"""Settings: every key of the contract with its default, every wrong key told with what was expected."""

import pickle
import tomllib
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from gateway.config import settings
from gateway.config.problems import ConfigError
from gateway.config.settings import CLAIM_S, Settings
from gateway.config.values import HostPort, HostRule, Listen, TargetRule
from gateway.credit.tie import CLAIM_TTL_MS
from policy.directory import Trunk

CONTRACT = """
[node]
name = "gate-1"
data_dir = "callgate-data"
[sip]
listen = ["udp://127.0.0.1:5060", "tcp://127.0.0.1:5060"]
workers = 1
worker_ports = "5070-5079"
max_call_s = 14400
ring_timeout_s = 180
target_timeout_s = 4
session_expires_s = 1800
unknown_source = "reject"
advertise = ""
max_calls = 20000
max_calls_per_second = 2000
drain_s = 30
[redis]
url = "embedded"
[ledger]
url = "embedded"
[admin]
listen = "127.0.0.1:8080"
token = ""
[credit]
tick_s = 60
renew_lead_s = 2.0
failure_policy = "terminate"
failure_ceiling = "1.00"
failure_ceiling_total = "50.00"
gates = 1
[payments]
provider = "manual"
"""

TRUNKS = """
[[trunk]]
name = "pbx"
role = "access"
tenant = "contoso"
hosts = ["127.0.0.2", "10.1.0.0/16", "127.0.0.1:5061"]
targets = ["sip:127.0.0.2:5060"]
numbers = "e164"
digest = { username = "pbx", password = "env:PBX_PASSWORD" }
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.1:5090"]
targets = ["sip:127.0.0.1:5090", "sip:127.0.0.1:5091"]
options_ping_s = 30
prefixes = ["+44"]
emergency = true
"""


def read(text: str, base: Path = Path("/etc/callgate")) -> Settings:
    return settings.parse(tomllib.loads(text), "callgate.toml", base)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_contracts_file_is_what_no_file_means() -> None:
    assert read(CONTRACT) == read("")


def test_every_key_of_the_contract_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBX_PASSWORD", "xyzzy")
    found = read(CONTRACT + TRUNKS)
    assert found.sip.listen == (Listen("udp", "127.0.0.1", 5060), Listen("tcp", "127.0.0.1", 5060))
    assert found.sip.worker_ports == tuple(range(5070, 5080))
    assert found.admin.listen == HostPort("127.0.0.1", 8080)
    assert found.credit.failure_ceiling_micros == 1_000_000
    assert found.credit.failure_ceiling_total_micros == 50_000_000
    pbx, carrier = found.trunk
    assert pbx.digest is not None
    assert pbx.digest.password.get_secret_value() == "xyzzy"
    assert [str(rule) for rule in pbx.hosts] == ["127.0.0.2", "10.1.0.0/16", "127.0.0.1:5061"]
    assert (carrier.prefixes, carrier.emergency, carrier.options_ping_s) == (("+44",), True, 30)


def test_trunks_as_policy_sees_them_are_in_file_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBX_PASSWORD", "xyzzy")
    found = read(TRUNKS).trunks
    assert list(found) == ["pbx", "carrier"]
    assert found["pbx"] == Trunk("pbx", "access", tenant="contoso", targets=("sip:127.0.0.2:5060",))
    assert found["carrier"].targets == ("sip:127.0.0.1:5090", "sip:127.0.0.1:5091")
    assert found["carrier"].emergency


WRONG = [
    ('[node]\nname = "a b"', 'node.name = "a b": expected a name of letters'),
    ('[node]\nnmae = "a"', 'node.nmae = "a": unknown key; did you mean "name"?'),
    ("[sip]\ntick_s = 3", "sip.tick_s = 3: unknown key; it belongs to [credit]"),
    ("[telemtry]\n", 'telemtry: unknown key; did you mean "telemetry"?'),
    ('[sip]\nlisten = ["udp://localhost:5060"]', "the host is an IP address, not a name"),
    ('[sip]\nlisten = ["sctp://127.0.0.1:5060"]', "expected a listen address such as"),
    ('[sip]\nlisten = ["udp://127.0.0.1"]', "with a port from 1 to 65535"),
    ('[sip]\nlisten = ["udp://127.0.0.1:70000"]', "with a port from 1 to 65535"),
    ("[sip]\nlisten = []", "sip.listen: expected at least 1 entries"),
    ('[sip]\nlisten = "udp://127.0.0.1:5060"', "expected a list in square brackets"),
    (
        '[sip]\nlisten = ["udp://127.0.0.1:5060", "tls://[::1]:5061"]',
        'sip.listen[1] = "tls://[::1]:5061": needs [sip.tls] with certificate and key',
    ),
    ('[sip]\nlisten = ["udp://0.0.0.0:5060"]', "needs sip.advertise"),
    ('[sip]\nlisten = ["udp://127.0.0.1:5060", "udp://127.0.0.1:5060"]', "sip.listen[1]"),
    ('[sip.tls]\ncertificate = "c.pem"', "sip.tls.key: is required"),
    ("[sip]\nworkers = 0", "sip.workers = 0: expected at least 1"),
    ("[sip]\nworkers = true", "sip.workers = true: expected a whole number"),
    ('[sip]\nworkers = "2"', 'sip.workers = "2": expected a whole number'),
    ("[sip]\nworkers = 1.5", "sip.workers = 1.5: expected a whole number"),
    ("[sip]\nworkers = 20", "sip.worker_ports = 10 ports: expected one for each of 20 workers"),
    ('[sip]\nworker_ports = "5079-5070"', 'expected ports such as "5070-5079"'),
    ("[sip]\nsession_expires_s = 60", "expected 0 or at least 90 (RFC 4028 4)"),
    ('[sip]\nunknown_source = "ignore"', "expected 'reject' or 'drop'"),
    ("[sip]\nring_timeout_s = inf", "sip.ring_timeout_s = inf: expected a finite number"),
    ("[sip]\nadvertise = 3", "sip.advertise = 3: expected text in quotes"),
    ("[sip]\nfollow_redirects = 1", "sip.follow_redirects = 1: expected true or false"),
    ('[payments]\nprovider = "webhook"\nsecret = "x"', "payments.url: expected the http:// or https:// URL"),
    ('[payments]\nprovider = "webhook"\nurl = "ftp://x"\nsecret = "x"', "payments.url: expected a URL that starts"),
    ('[payments]\nprovider = "stripe"', 'payments.secret: needed with provider = "stripe"'),
    ("[payments]\nrecharges_per_hour = 0", "payments.recharges_per_hour = 0"),
    ("[redis]\nurl = 5", "redis.url = 5: expected a URL in quotes"),
    ('[redis]\nurl = "http://127.0.0.1"', "redis.url"),
    ('[redis]\nurl = "env:NOBODY_SETS_THIS"', "expected the environment variable NOBODY_SETS_THIS to be set"),
    ('[ledger]\nurl = "mysql://h/x"', "expected 'embedded' or a URL that starts with sqlite:///, postgresql://"),
    ('[admin]\nlisten = "8080"', "expected an address and port"),
    ('[admin]\ntoken = "file:not-there"', "expected /etc/callgate/not-there to be a readable text file"),
    ("[credit]\ntick_s = 0", "credit.tick_s = 0: expected at least 1"),
    ("[credit]\nfailure_ceiling = 1.0", 'credit.failure_ceiling = 1.0: expected an amount in quotes such as "12.50"'),
    ('[credit]\nfailure_ceiling = "-1"', 'expected an amount of at least "0"'),
    ('[credit]\nfailure_ceiling = "1,5"', "write digits with at most six decimals"),
    ('[payments]\nprovider = "paypal"', "expected 'manual', 'simulated', 'webhook' or 'stripe'"),
    ("trunk = 3", "trunk = 3: expected a list"),
    ("node = 3", "node = 3: expected a table"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_wrong_key_is_told_with_file_key_value_and_what_was_expected(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("callgate.toml: ")
    assert expected in problem


WRONG_TRUNKS = [
    ('name = "x"\nrole = "access"', 'needs either tenant or tenant_from = "caller"'),
    ('name = "x"\nrole = "access"\ntenant = "t"\ntenant_from = "caller"', "needs either tenant or tenant_from"),
    ('name = "x"\nrole = "carrier"\ntenant = "t"', 'trunk[0].tenant: carrier trunk "x" has no tenant'),
    ('name = "x"\nrole = "carrier"\nlimits = { max_calls = 5 }', "only access trunks have limits"),
    ('name = "x"\nrole = "access"\ntenant = "t"\nprefixes = ["+44"]', "only carriers choose calls"),
    ('name = "x"\nrole = "carrier"\nhosts = ["10.0.0.1/8"]', "without host bits: 10.0.0.0/8"),
    ('name = "x"\nrole = "carrier"\nhosts = ["pbx.example.org"]', "expected an address, a network or address:port"),
    ('name = "x"\nrole = "carrier"\nhosts = ["127.0.0.1", "127.0.0.1"]', 'already a source of trunk "x"'),
    ('name = "x"\nrole = "carrier"\ntargets = ["127.0.0.1:5060"]', "expected a SIP URI such as"),
    ('name = "x"\nrole = "carrier"\ntargets = ["sip:a@127.0.0.1"]', "without a user part"),
    ('name = "x"\nrole = "carrier"\ntargets = ["sip:h;transport=sctp"]', "the transport is udp, tcp or tls"),
    (
        'name = "x"\nrole = "carrier"\ntargets = ["sip:h", "sip:10.0.0.1;transport=tls"]',
        'trunk[0].targets[1] = "sip:10.0.0.1;transport=tls": needs a tls:// address in sip.listen',
    ),
    (
        'name = "x"\nrole = "carrier"\ntargets = [{ uri = "sips:pbx.example.org" }]',
        'trunk[0].targets[0] = "sips:pbx.example.org": needs a tls:// address in sip.listen',
    ),
    ('name = "x"\nrole = "carrier"\nproxy = "sips:p"', 'trunk[0].proxy = "sips:p": needs a tls:// address'),
    (
        'name = "x"\nrole = "carrier"\nregistration = { registrar = "sip:h;transport=tls", address = "sip:a@h" }',
        'trunk[0].registration.registrar = "sip:h;transport=tls": needs a tls:// address in sip.listen',
    ),
    ('name = "x"\nrole = "carrier"\ntargets = [{ uri = "sip:h", weight = 0 }]', "each 1 to 65535"),
    ('name = "x"\nrole = "carrier"\ntargets = [{ uri = "sip:h", prio = 1 }]', "expected a table such as"),
    ('name = "x"\nrole = "carrier"\ntargets = [{ priority = 1 }]', "expected a SIP URI such as"),
    ('name = "x"\nrole = "carrier"\nprefixes = ["44"]', 'expected a prefix with + such as "+44"'),
    ('name = "x"\nrole = "peer"', "expected 'access' or 'carrier'"),
    ('role = "carrier"', "trunk[0].name: is required"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_TRUNKS)
def test_a_wrong_trunk_is_told(text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(f"[[trunk]]\n{text}"))


TLS = '[sip]\nlisten = ["tls://127.0.0.1:5061", "tcp://127.0.0.1:5060"]\n'
CERTIFICATE = 'tls = { certificate = "c.pem", key = "k.pem" }\n'


def test_tls_is_taken_with_certificate_and_key() -> None:
    trunk = '[[trunk]]\nname = "x"\nrole = "carrier"\ntargets = ["sips:pbx.example.org"]\n'
    found = read(TLS + CERTIFICATE + trunk)
    assert found.trunk[0].targets == (TargetRule("sips:pbx.example.org", "tls"),)
    tls = found.sip.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (Path("/etc/callgate/c.pem"), Path("/etc/callgate/k.pem"))
    assert (tls.ca, tls.client_certificates, tls.names) == (None, "none", ())


def test_each_worker_needs_a_port_for_tls_as_well() -> None:
    (problem,) = problems(TLS + CERTIFICATE + 'workers = 3\nworker_ports = "5070-5074"\n')
    assert "sip.worker_ports = 5 ports: expected two for each of 3 workers" in problem
    assert read(TLS + CERTIFICATE + 'workers = 3\nworker_ports = "5070-5075"\n').sip.workers == 3


def test_targets_have_priorities_and_weights() -> None:
    given = '["sip:a", { uri = "sip:b;transport=tcp", priority = 2, weight = 3 }]'
    found = read(f'[[trunk]]\nname = "x"\nrole = "carrier"\ntargets = {given}\n')
    assert found.trunk[0].targets == (TargetRule("sip:a", "udp"), TargetRule("sip:b;transport=tcp", "tcp", 2, 3))
    assert found.trunks["x"].targets == ("sip:a", "sip:b;transport=tcp")


def test_all_problems_are_told_at_once() -> None:
    found = problems('[node]\nname = ""\n[sip]\nworkers = 0\nmax_callz = 1\n[[trunk]]\nrole = "x"\n')
    assert [problem.split(": ")[1] for problem in found] == [
        'node.name = ""',
        "sip.workers = 0",
        "sip.max_callz = 1",
        "trunk[0].name",
        'trunk[0].role = "x"',
    ]


def test_two_trunks_of_one_name_are_told() -> None:
    trunk = '[[trunk]]\nname = "a"\nrole = "carrier"\n'
    assert problems(trunk + trunk) == ['callgate.toml: trunk[1].name = "a": expected each name once']


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("LEDGER", "postgresql://u:p@h/db")
    found = read('[admin]\ntoken = "file:token"\n[ledger]\nurl = "env:LEDGER"\n', tmp_path)
    assert found.admin.token.get_secret_value() == "from-a-file"
    assert found.ledger.url == "postgresql://u:p@h/db"


def test_secrets_are_in_no_text_of_the_settings() -> None:
    found = read(
        '[admin]\ntoken = "hunter2"\n[redis]\nurl = "redis://u:hunter2@h/0"\n'
        '[ledger]\nurl = "postgresql://u:hunter2@h/db"\n'
    )
    assert "hunter2" not in repr(found) + str(found)


def test_secrets_are_in_no_problem() -> None:
    wrong = '[redis]\nurl = "redsi://u:hunter2@h/0"\n[admin]\ntokenn = "hunter2"\n[ledger]\nurl = "x://u:hunter2@h/d"'
    assert "hunter2" not in "".join(problems(wrong) + problems('[admin]\ntoken = ["hunter2"]'))


def test_a_mail_gateway_is_a_url_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL", "mailtos://u:hunter2@smtp.example.org")
    text = '[notifications]\nwebhook_secret = "hunter2"\nmail = "env:MAIL"'
    found = read(text)
    assert found.notifications.mail == "mailtos://u:hunter2@smtp.example.org"
    assert "hunter2" not in repr(found)
    assert read('[notifications]\nmail = ""').notifications.mail == ""
    (problem,) = problems('[notifications]\nmail = "smtp.example.org"')
    assert "expected an Apprise URL" in problem


def test_relative_paths_start_at_the_file() -> None:
    found = read('[ledger]\nurl = "sqlite:///books/l.db"\n')
    assert found.data_dir == Path("/etc/callgate/callgate-data")
    assert found.ledger.url == "sqlite:////etc/callgate/books/l.db"
    assert read('[ledger]\nurl = "sqlite:////var/l.db"\n').ledger.url == "sqlite:////var/l.db"


@pytest.mark.parametrize(("tick_s", "lead_s", "used_s"), [(60, 2.0, 2.0), (2, 2.0, 1.0), (1, 5.0, 0.5), (3, 2.9, 2.9)])
def test_a_lead_of_a_tick_or_more_is_clamped(tick_s: int, lead_s: float, used_s: float) -> None:
    found = read(f"[credit]\ntick_s = {tick_s}\nrenew_lead_s = {lead_s}\n")
    assert found.renew_lead_s == used_s
    assert bool(found.notices) is (used_s != lead_s)


@pytest.mark.parametrize(
    ("rule", "address", "port", "matches"),
    [
        ("10.1.0.0/16", "10.1.2.3", 5060, True),
        ("10.1.0.0/16", "10.2.2.3", 5060, False),
        ("127.0.0.1:5061", "127.0.0.1", 5061, True),
        ("127.0.0.1:5061", "127.0.0.1", 5060, False),
        ("[::1]:5060", "::1", 5060, True),
        ("2001:db8::/32", "2001:db8::5", 1, True),
        ("2001:db8::/32", "10.0.0.1", 1, False),
    ],
)
def test_host_rules_match(rule: str, address: str, port: int, matches: bool) -> None:
    trunk = f'[[trunk]]\nname = "x"\nrole = "carrier"\nhosts = ["{rule}"]\n'
    (found,) = read(trunk).trunk[0].hosts
    assert found.matches(ip_address(address), port) is matches
    assert str(found) == rule


def test_the_most_specific_host_rule_ranks_highest() -> None:
    def rule(text: str) -> HostRule:
        return read(f'[[trunk]]\nname = "x"\nrole = "carrier"\nhosts = ["{text}"]\n').trunk[0].hosts[0]

    rules = ["10.0.0.1:5060", "10.0.0.1", "10.0.0.0/24", "10.0.0.0/8"]
    assert sorted(rules, key=lambda text: rule(text).rank, reverse=True) == rules


def test_the_file_is_found_by_option_variable_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(settings.FILE_VARIABLE, raising=False)
    assert settings.load().node.name == "gate-1"
    for name in ("callgate.toml", "by-variable.toml", "by-option.toml"):
        (tmp_path / name).write_text(f'[node]\nname = "{name}"\n')
    assert settings.load().node.name == "callgate.toml"
    monkeypatch.setenv(settings.FILE_VARIABLE, "by-variable.toml")
    assert settings.load().node.name == "by-variable.toml"
    assert settings.load("by-option.toml").node.name == "by-option.toml"


def unreadable(path: Path) -> None:
    path.write_bytes(b"[node]\nname = '\xff'")


def not_toml(path: Path) -> None:
    path.write_text("[node\n")


@pytest.mark.parametrize(
    ("make", "expected"),
    [(lambda path: None, "cannot be read"), (unreadable, "is not UTF-8"), (not_toml, "is not TOML")],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, make: Callable[[Path], Any], expected: str) -> None:
    make(tmp_path / "gate.toml")
    with pytest.raises(ConfigError, match=expected) as caught:
        settings.load(str(tmp_path / "gate.toml"))
    assert str(caught.value).startswith(str(tmp_path / "gate.toml"))


def test_settings_travel_to_another_process_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBX_PASSWORD", "xyzzy")
    found = read(CONTRACT + TRUNKS)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.trunk[0].digest.password.get_secret_value() == "xyzzy"


def test_settings_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read("").sip.workers = 2  # type: ignore[misc]


def test_a_takeover_that_comes_after_the_sweep_is_told(tmp_path: Path) -> None:
    assert CLAIM_TTL_MS == 1000 * CLAIM_S
    assert not [notice for notice in settings.parse({}, "", tmp_path).notices if "takeover" in notice]
    for grace_s, told in ((30, False), (25, True)):
        notices = settings.parse({"credit": {"lease_grace_s": grace_s}}, "", tmp_path).notices
        assert any("takeover_after_s = 10" in notice for notice in notices) == told
    never = settings.parse({"credit": {"lease_grace_s": 1, "takeover_after_s": 0}}, "", tmp_path)
    assert not any("takeover" in notice for notice in never.notices)


ACCESS = '[[trunk]]\nname = "p{0}"\nrole = "access"\ntenant = "t"\n'
CARRIER = '[[trunk]]\nname = "c"\nrole = "carrier"\n'
DIGEST = 'digest = {{ username = "{0}", password = "x" }}\n'
REGISTERS = 'hosts = ["register"]\n'


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (ACCESS + REGISTERS, "trunk[0].digest", "anybody could register"),
        (CARRIER + REGISTERS + DIGEST, "trunk[0].hosts", "only access trunks"),
        (ACCESS + 'hosts = ["register", "10.0.0.1"]\n' + DIGEST, "trunk[0].hosts", "alone"),
        (ACCESS + REGISTERS + 'proxy = "sip:192.0.2.1"\n' + DIGEST, "trunk[0].proxy", "left out"),
        (ACCESS + REGISTERS + 'targets = ["sip:10.0.0.1"]\n' + DIGEST, "trunk[0].targets", "left out"),
        (ACCESS + DIGEST + ACCESS.replace("p{0}", "q") + DIGEST, "trunk[1].digest.username", "already"),
        (ACCESS + 'registration = {{ registrar = "sip:c" }}\n' + DIGEST, "trunk[0].registration", "only with carriers"),
        (CARRIER + 'registration = {{ registrar = "sip:c" }}\n', "trunk[0].registration.address", "needed"),
        (
            CARRIER + 'registration = {{ registrar = "sip:a@c", address = "sip:a@c" }}\n',
            "trunk[0].registration.registrar",
            "user part",
        ),
        (CARRIER + 'registration = {{ registrar = "sip:c", address = "a" }}\n', "trunk[0].registration.address", ""),
        (CARRIER + 'header_rules = [{{ action = "remove", header = "Via" }}]\n', "trunk[0].header_rules[0]", "SIP"),
        (CARRIER + 'header_rules = [{{ action = "remove", header = "a b" }}]\n', "trunk[0].header_rules[0].header", ""),
        (CARRIER + 'number_prefix = "x"\n', "trunk[0].number_prefix", ""),
    ],
)
def test_what_trunks_say_of_callers_has_to_fit(text: str, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text.format("1"))
    (problem,) = refused.value.problems
    assert problem.key == key
    assert expected in problem.expected


def test_many_trunks_may_register_and_carriers_share_a_user_name() -> None:
    settings = read(
        ACCESS.format(1) + REGISTERS + DIGEST.format("a") + ACCESS.format(2) + REGISTERS + DIGEST.format("b")
        + CARRIER + DIGEST.format("a") + 'registration = { registrar = "sip:c.example" }\n'
    )  # fmt: skip
    assert [trunk.registers for trunk in settings.trunk] == [True, True, False]
    assert settings.trunks["p1"].targets == ("sip:p1.registered.invalid",)
    assert settings.notices == []
