"""audit: acts of commands with the user who ran them, for people and as JSON."""

import os
import pwd

from .conftest import Shell

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def test_acts_of_commands_are_shown_with_who_did_them(provisioned: Shell, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("LOGNAME", "somebody-else")  # nobody acts under another name by saying so
    monkeypatch.setenv("USER", "somebody-else")
    provisioned("fund", "contoso", "5", "--reference", "r1")
    (provisioned.folder / "other.csv").write_text((provisioned.folder / "deck.csv").read_text() + "33,France,1,0,1,1\n")
    provisioned("rates", "load", "other.csv", "--deck", "standard")
    acts = provisioned("audit", "--json").document
    assert {act["actor"] for act in acts} == {ME}
    assert [act["act"] for act in acts[-2:]] == ["fund.manual", "rate_deck.changed"]
    assert acts[-2]["after"] == {"amount": "5.000000", "ledger_balance": "5.000000"}
    assert "tenant.added" in {act["act"] for act in acts}
    own = provisioned("audit", "--tenant", "contoso", "--json").document
    assert own
    assert {act["tenant"] for act in own} == {"contoso"}
    assert provisioned("audit", "--to", "2001-01-01", "--json").document == []
    assert "fund.manual" in provisioned("audit", "--from", acts[0]["at"]).out


def test_addresses_with_tokens_are_not_shown(shell: Shell) -> None:
    text = (shell.folder / "tenants.toml").read_text()
    mail = 'notify = ["slack://hunter2/hunter2/hunter2", "https://u:hunter2@example.org/hook"]'
    (shell.folder / "tenants.toml").write_text(
        text.replace('rate_deck = "standard"', f'rate_deck = "standard"\n{mail}', 1)
    )
    assert "hunter2" not in shell("provision", "tenants.toml").out
    (added,) = [act for act in shell("audit", "--json").document if act["act"] == "tenant.added"]
    assert added["after"]["more"]["notify"] == ["slack://***", "https://***"]
    assert "hunter2" not in shell("audit", "--json").out + shell("audit").out
