"""What holds for every command: its options, its exit status, and one line where it fails."""

import re
import subprocess
import sys
from typing import Any

import pytest
import typer

from gateway.cli.app import app
from gateway.config.version import VERSION
from tests.name_server import NameServer

from .conftest import SETTINGS, Shell

CONTRACT = {
    "serve": {"--role", "--cut-on-drain"},
    "demo": {"--seconds"},
    "check": set(),
    "provision": {"--dry-run"},
    "fund": {"--reference", "--kind"},
    "balance": set(),
    "rates load": {"--deck", "--effective-from"},
    "rates list": set(),
    "rates quote": {"--tenant", "--user", "--seconds"},
    "explain": {"--tenant", "--from", "--to", "--user", "--kind"},
    "calls": {"--tenant"},
    "hangup": set(),
    "usage": {"--tenant", "--from", "--to", "--format", "-o", "--refused"},
    "ledger": {"--tenant"},
    "ledger verify": {"--tenant"},
    "reconcile": {"--tenant", "--repair"},
    "audit": {"--tenant", "--from", "--to"},
    "export": set(),
}
"""CONTRACT 2, and the audit log."""


def commands(group: Any = None, above: str = "") -> dict[str, set[str]]:
    """Every command with its options."""
    group = group or typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            if each.invoke_without_command:
                found[above + name] = {option for parameter in each.params for option in parameter.opts}
            found |= commands(each, f"{above}{name} ")
        else:
            found[above + name] = {option for parameter in each.params for option in parameter.opts}
    return found


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("calls --tenant=", "--tenant"),
        ("reconcile --tenant=", "--tenant"),
        ("ledger --tenant=", "--tenant"),
        ("calls --config=", "--config"),
        ("rates load deck.csv --deck d --currency=", "--currency"),
        ("rates load deck.csv --deck d --effective-from=", "expected a date or time"),
        ("limits contoso --release=", "--release"),
        ("report pools --tenant contoso --month=", "--month"),
        ("audit --from=", "expected a date or time"),
    ],
)
def test_an_option_given_as_nothing_does_not_mean_everything(shell: Shell, words: str, option: str) -> None:
    done = shell(*words.split(), status=2)
    assert option in done.err.replace("\n", " ")
    assert done.out == ""


def test_every_command_of_the_contract_is_there_with_its_options() -> None:
    found = commands()
    assert set(found) >= set(CONTRACT)
    for name, options in CONTRACT.items():
        assert options <= found[name], name


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_every_command_takes_settings_and_says_json(name: str) -> None:
    options = commands()[name]
    assert {"-c", "--config"} <= options
    assert ("--json" in options) is (name != "serve")


@pytest.mark.parametrize("name", ["", *sorted(CONTRACT)])
def test_every_command_has_help(empty: Shell, name: str) -> None:
    assert "Usage: " in empty(*name.split(), "--help").out


def test_the_version_is_one_line(empty: Shell) -> None:
    for done in (empty("--version"), empty.program("--version")):
        assert (done.status, done.out, done.err) == (0, f"callgate {VERSION}\n", "")
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


@pytest.mark.parametrize(
    "words", [(), ("nonsense",), ("balance",), ("calls", "--nonsense"), ("fund", "contoso", "5"), ("export", "x")]
)
def test_wrong_use_is_status_2(empty: Shell, words: tuple[str, ...]) -> None:
    assert empty(*words, status=2).status == 2


def test_wrong_settings_are_told_without_a_traceback(shell: Shell) -> None:
    (shell.folder / "callgate.toml").write_text('[node]\nnmae = "x"\n[sip]\nworkers = 0\n')
    for words in (("calls",), ("serve",)):
        done = shell.program(*words)
        assert (done.status, done.out) == (1, "")
        assert done.err.splitlines() == [
            'callgate: callgate.toml: node.nmae = "x": unknown key; did you mean "name"?',
            "callgate: callgate.toml: sip.workers = 0: expected at least 1",
        ]


def test_a_settings_file_that_is_not_there_is_told(empty: Shell) -> None:
    assert empty("calls", "-c", "nowhere.toml", status=1).failed("nowhere.toml", "cannot be read")


def test_settings_are_named_before_or_behind_the_command_or_by_variable(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shell.folder / "callgate.toml").rename(shell.folder / "gate.toml")
    shell("provision", "tenants.toml", "-c", "gate.toml")
    assert len(shell("rates", "list", "--json", "--config", "gate.toml").document) == 1
    assert shell("rates", "list", "--json").document == []
    monkeypatch.setenv("CALLGATE_CONFIG", "gate.toml")
    assert len(shell("rates", "list", "--json").document) == 1
    monkeypatch.setenv("CALLGATE_CONFIG", "")
    assert len(shell("-c", "gate.toml", "rates", "list", "--json").document) == 1


def test_a_data_folder_that_cannot_be_made_is_told(shell: Shell) -> None:
    (shell.folder / "data").write_text("a file")
    assert shell("balance", "contoso", status=1).failed("data", "set node.data_dir")


def test_a_fault_of_the_program_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str | None) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("gateway.cli.calls.load", broken)
    done = shell("calls", status=1)
    assert done.failed("fault: RuntimeError: a bug", "CALLGATE_DEBUG=1")
    monkeypatch.setenv("CALLGATE_DEBUG", "1")
    assert "Traceback" in shell("calls", status=1).err


def test_json_is_all_that_stands_on_standard_output(provisioned: Shell) -> None:
    for words in (("balance", "contoso"), ("rates", "list")):
        done = provisioned.program(*words, "--json")
        assert done.status == 0, done
        assert done.document is not None
        assert done.err == ""


def test_a_reader_that_goes_away_is_no_fault(provisioned: Shell) -> None:
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'gateway.cli', 'export', 'grafana'],"
    code += (
        " stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.close(); sys.stderr.buffer.write(p.stderr.read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=provisioned.folder, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_check_says_that_all_is_well(provisioned: Shell) -> None:
    document = provisioned("check", "--json").document
    assert document == {"file": "callgate.toml", "ok": True, "problems": [], "notices": []}
    assert provisioned("check").out.endswith("all is well\n")


def test_check_names_each_problem(shell: Shell) -> None:
    wrong = SETTINGS.replace("[redis]", '[redis]\nurl = "redis://u:hunter2@127.0.0.1:1/0"')
    wrong = wrong.replace("sip:127.0.0.3:5060", "sip:nobody.invalid:5060")
    wrong += '[ledger]\nurl = "sqlite:////proc/nowhere/x.db"\n[credit]\ntick_s = 1\n'
    (shell.folder / "callgate.toml").write_text(wrong)
    done = shell("check", "--json", status=1)
    keys = [problem["key"] for problem in done.document["problems"]]
    assert keys == ["ledger.url", "trunk[1].targets[0]"]
    assert done.document["notices"] == ["credit.renew_lead_s = 2 is not below credit.tick_s = 1: 0.5 is used"]
    (shell.folder / "callgate.toml").write_text(wrong.replace("/proc/nowhere/x.db", str(shell.folder / "x.db")))
    done = shell("check", status=1)
    assert 'redis.url = "redis://***@127.0.0.1:1/0"' in done.out
    assert "hunter2" not in done.out + done.err
    assert done.err.splitlines() == [
        "callgate: credit.renew_lead_s = 2 is not below credit.tick_s = 1: 0.5 is used",
        "callgate: the configuration has problems; mend each key that is named",
    ]


def test_a_peer_that_can_never_be_reached_is_a_problem(shell: Shell) -> None:
    reached_by_tls = SETTINGS.replace("sip:127.0.0.3:5060", "sip:127.0.0.3:5061;transport=tls")
    (shell.folder / "callgate.toml").write_text(reached_by_tls)
    (problem,) = shell("check", "--json", status=1).document["problems"]
    assert (problem["key"], problem["value"]) == ("trunk[1].targets[0]", '"sip:127.0.0.3:5061;transport=tls"')
    assert problem["expected"] == "needs a tls:// address in sip.listen"
    assert shell("serve", status=1).failed("callgate.toml", "trunk[1].targets[0]", "needs a tls:// address")


def test_check_reads_the_certificates_and_asks_the_name_servers_of_the_settings(provisioned: Shell) -> None:
    zone = {"_sip._udp.carrier.test": {"SRV": (60, ["1 1 5060 edge.test."])}, "edge.test": {"A": (60, ["127.0.0.3"])}}
    with NameServer(zone) as names:
        sip = f'[sip]\nnameservers = ["{names.address}"]\ntls = {{ certificate = "c.pem", key = "k.pem" }}\n[redis]'
        found_by_srv = SETTINGS.replace("[redis]", sip).replace("sip:127.0.0.3:5060", "sip:carrier.test")
        (provisioned.folder / "callgate.toml").write_text(found_by_srv)
        (problem,) = provisioned("check", "--json", status=1).document["problems"]
    assert problem["key"] == "sip.tls"
    assert "c.pem with key" in problem["expected"]
    assert "No such file" in problem["expected"]


def test_check_tells_wrong_keys(shell: Shell) -> None:
    (shell.folder / "callgate.toml").write_text("[sip]\nworkers = 0\n")
    (problem,) = shell("check", "--json", status=1).document["problems"]
    assert problem == {
        "file": "callgate.toml",
        "key": "sip.workers",
        "value": "0",
        "expected": "expected at least 1",
    }
