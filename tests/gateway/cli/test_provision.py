"""provision, rates and explain: what is applied, what is refused, and what a call would cost."""

import gzip

import pytest

from gateway.cli.provision import NOTICES_MAX

from .conftest import DECK, PROVISIONING, Shell


def test_provisioning_says_what_changed_and_changes_nothing_twice(shell: Shell) -> None:
    assert shell("provision", "tenants.toml", "--dry-run").out == shell("provision", "tenants.toml").out
    assert shell("provision", "tenants.toml").out == "nothing to change\n"
    (shell.folder / "tenants.toml").write_text(PROVISIONING.replace("+18005550199", "+18005550198"))
    document = shell("provision", "tenants.toml", "--json").document
    assert document["dry_run"] is False
    assert {(change["action"], change["what"], change["name"]) for change in document["changes"]} == {
        ("added", "service number", "+18005550198"),
        ("removed", "service number", "+18005550199"),
    }


def test_a_dry_run_changes_nothing(shell: Shell) -> None:
    shell("provision", "tenants.toml", "--dry-run")
    assert shell("balance", "contoso", status=1).failed("contoso")


def test_a_wrong_file_is_refused_with_each_wrong_key(shell: Shell) -> None:
    (shell.folder / "tenants.toml").write_text(
        PROVISIONING.replace('id = "contoso"', "idd = 3").replace("+1425", "1425")
    )
    done = shell("provision", "tenants.toml", status=1)
    assert sorted(done.err.splitlines()) == [
        "callgate: tenants.toml: tenant[0].id: is required",
        'callgate: tenants.toml: tenant[0].idd = 3: unknown key; did you mean "id"?',
        'callgate: tenants.toml: tenant[0].user[0].number = "14255550100": '
        'expected a whole number in E.164 with +, of 7 to 15 digits, such as "+14255550100"',
    ]


def test_a_bad_deck_row_refuses_all_of_it(shell: Shell) -> None:
    (shell.folder / "deck.csv").write_text(DECK + "33,France,cheap,0,1,1\n")
    assert shell("provision", "tenants.toml", status=1).failed("row 4", "rate_micros_per_min")
    assert shell("rates", "list", "--json").document == []


def test_a_file_that_is_not_there_is_told(shell: Shell) -> None:
    assert shell("provision", "nowhere.toml", status=1).failed("nowhere.toml", "cannot be read")


def test_a_service_number_on_an_unknown_trunk_is_mentioned(shell: Shell) -> None:
    (shell.folder / "tenants.toml").write_text(PROVISIONING.replace('deliver_to = "pbx"', 'deliver_to = "bridge"'))
    told = shell("provision", "tenants.toml").err
    assert told.startswith(
        "callgate: warning: applied all the same: tenants.toml: tenant[0].service_number[0].deliver_to"
    )
    assert "expected a trunk of the settings: pbx, carrier; add it there, or calls find no way" in told
    told = shell("provision", "tenants.toml", "--dry-run").err
    assert told.startswith("callgate: warning: would be applied all the same: tenants.toml")


def test_what_is_refused_is_not_called_applied(shell: Shell) -> None:
    text = PROVISIONING.replace('deliver_to = "pbx"', 'deliver_to = "bridge"').replace(
        'rate_deck = "standard"', 'rate_deck = "gold"'
    )
    (shell.folder / "tenants.toml").write_text(text)
    assert shell("provision", "tenants.toml", status=1).failed("rate deck 'gold', which is not there")


def test_numbers_of_no_numbering_plan_are_mentioned_and_not_one_by_one(shell: Shell) -> None:
    users = "".join(f'[[tenant.user]]\nid = "u{n}"\nnumber = "+999123{n:03}"\n' for n in range(100))
    (shell.folder / "tenants.toml").write_text(PROVISIONING + users)
    *first, last = shell("provision", "tenants.toml").err.splitlines()
    assert len(first) == NOTICES_MAX
    assert 'tenant[0].user[1].number = "+999123000": expected a number of a numbering plan' in first[0]
    assert last == "callgate: warning: applied all the same: 80 more of the kind"


def test_a_toll_free_number_that_is_none_is_mentioned(shell: Shell) -> None:
    (shell.folder / "tenants.toml").write_text(PROVISIONING.replace("+18005550199", "+442079460199"))
    told = shell("provision", "tenants.toml").err
    assert 'kind = "toll_free": expected "toll": +442079460199 is a fixed number by its numbering plan' in told


def test_a_rule_for_unassigned_numbers_that_leads_nowhere_is_mentioned(shell: Shell) -> None:
    rules = "".join(
        f"[[tenant.unassigned]]\npattern = '^\\+1425555'\ntarget = \"{target}\"\n"
        for target in ("alice@contoso.com", "+18005550199", "pbx", "nobody")
    )
    (shell.folder / "tenants.toml").write_text(PROVISIONING + rules)
    (notice,) = shell("provision", "tenants.toml").err.splitlines()
    assert 'tenant[0].unassigned[3].target = "nobody": expected a user or service number of this tenant' in notice


def test_a_file_whose_keys_are_all_obeyed_has_no_notice(shell: Shell) -> None:
    done = shell("provision", "tenants.toml", "--json")
    assert (done.document["notices"], done.err) == ([], "")


def test_decks_are_loaded_and_listed(provisioned: Shell) -> None:
    (first,) = provisioned("rates", "list", "--json").document
    assert (first["name"], first["currency"], first["rows"], first["in_use"]) == ("standard", "USD", 2, True)
    (provisioned.folder / "new.csv.gz").write_bytes(gzip.compress((DECK + "33,France,18000,0,60,60\n").encode()))
    assert "standard" in provisioned("rates", "load", "new.csv.gz", "--deck", "standard").out
    assert "same" in provisioned("rates", "load", "new.csv.gz", "--deck", "standard").out
    assert [deck["in_use"] for deck in provisioned("rates", "list", "--json").document] == [True, False]
    assert (
        provisioned("rates", "quote", "+33123456789", "--tenant", "contoso", "--json").document["amount"] == "0.018000"
    )


def test_a_deck_for_later_is_not_in_use_yet(provisioned: Shell) -> None:
    (provisioned.folder / "new.csv").write_text(DECK.replace("600000", "700000"))
    provisioned("rates", "load", "new.csv", "--deck", "standard", "--effective-from", "2999-01-01T00:00:00Z")
    versions = provisioned("rates", "list", "--json").document
    assert {(deck["effective_from"][:4], deck["in_use"]) for deck in versions} >= {("2999", False)}
    assert (
        provisioned("rates", "quote", "+12125550123", "--tenant", "contoso", "--json").document["amount"] == "0.600000"
    )


@pytest.mark.parametrize("currency", ["euro", "USX", "XTS"])
def test_a_deck_in_no_currency_is_refused(shell: Shell, currency: str) -> None:
    done = shell("rates", "load", "deck.csv", "--deck", "other", "--currency", currency, status=1)
    assert done.failed(f"'{currency}', which is no currency of ISO 4217", 'write three capital letters such as "USD"')


@pytest.mark.parametrize(
    ("row", "words"),
    [("33,France,-1,0,1,1\n", ("row 4", "rate_micros_per_min")), ("x,France,1,0,1,1\n", ("row 4", "prefix"))],
)
def test_a_bad_row_refuses_the_deck_and_the_old_one_stays(provisioned: Shell, row: str, words: tuple[str, ...]) -> None:
    (provisioned.folder / "bad.csv").write_text(DECK + row)
    assert provisioned("rates", "load", "bad.csv", "--deck", "standard", status=1).failed(*words)
    assert (
        provisioned("rates", "quote", "+12125550123", "--tenant", "contoso", "--json").document["amount"] == "0.600000"
    )


@pytest.mark.parametrize(
    ("number", "seconds", "amount"),
    [("+12125550123", "60", "0.600000"), ("+12125550123", "0", "0.000000"), ("+442079460000", "61", "2.400100")],
)
def test_a_quote_is_the_charge(provisioned: Shell, number: str, seconds: str, amount: str) -> None:
    document = provisioned("rates", "quote", number, "--tenant", "contoso", "--seconds", seconds, "--json").document
    assert (document["number"], document["seconds"], document["amount"]) == (number, int(seconds), amount)
    assert amount in provisioned("rates", "quote", number, "--tenant", "contoso", "--seconds", seconds).out


def test_a_quote_for_what_has_no_price_is_told(provisioned: Shell) -> None:
    assert provisioned("rates", "quote", "+33123456789", "--tenant", "contoso", status=1).failed("no price")
    assert provisioned("rates", "quote", "hello", "--tenant", "contoso", status=1).failed("not a telephone number")
    assert provisioned("rates", "quote", "+1212", "--tenant", "nobody", status=1).failed("nobody")
    assert provisioned("rates", "quote", "+1212", "--tenant", "contoso", "--user", "x", status=1).failed("no user 'x'")


def explain(shell: Shell, called: str, *more: str) -> dict[str, object]:
    words = ("explain", "--tenant", "contoso", "--from", "+14255550100", "--to", called, *more, "--json")
    document = shell(*words).document
    assert isinstance(document, dict)
    return document


def test_a_call_is_explained_with_its_price_and_how_long_it_may_be(provisioned: Shell) -> None:
    refused = explain(provisioned, "+12125550123")
    assert (refused["allowed"], refused["reason"], refused["sip_status"]) == (False, "NO_CREDIT", 402)
    provisioned("fund", "contoso", "1.005", "--reference", "r1")
    allowed = explain(provisioned, "+12125550123")
    assert (allowed["allowed"], allowed["reason"], allowed["sip_status"]) == (True, None, 200)
    assert (allowed["kind"], allowed["destination"], allowed["max_seconds"]) == ("user_out", "United States", 100)
    assert allowed["pays"] == [{"payer": "credits", "pool": None, "seconds": 100, "amount": "1.000000"}]
    assert allowed["rate"] == {
        "per_minute": "0.600000",
        "connect": "0.000000",
        "minimum": "0.000000",
        "first_incr_s": 1,
        "next_incr_s": 1,
        "free_s": 0,
        "changes": [],
    }
    rules = allowed["rules"]
    assert isinstance(rules, list)
    assert rules[0]["name"] == "emergency"
    assert rules[-1] == {"name": "credit", "outcome": "1.005000 available: 100 s", "passed": True}


@pytest.mark.parametrize(
    ("called", "reason", "status"),
    [("+33123456789", "NO_RATE", 404), ("+1425", "INCOMPLETE_NUMBER", 484), ("hello", "INVALID_NUMBER", 404)],
)
def test_a_refusal_is_explained(provisioned: Shell, called: str, reason: str, status: int) -> None:
    refused = explain(provisioned, called)
    assert (refused["allowed"], refused["reason"], refused["sip_status"]) == (False, reason, status)
    assert refused["pays"] == []


def test_minutes_that_pay_are_explained(shell: Shell) -> None:
    licensed = 'number = "+14255550100"\nlicences = ["MCOPSTN5"]'
    (shell.folder / "tenants.toml").write_text(PROVISIONING.replace('number = "+14255550100"', licensed))
    shell("provision", "tenants.toml")
    allowed = explain(shell, "+12125550123")
    pays = {"payer": "pool", "pool": "MCOPSTN5/US", "seconds": 7_200, "amount": "0.000000"}
    assert (allowed["allowed"], allowed["pays"], allowed["max_seconds"]) == (True, [pays], 7_200)
    words = ("explain", "--tenant", "contoso", "--from", "+14255550100", "--to", "+12125550123")
    assert "pays: pool MCOPSTN5/US 0.000000 for 7200 s" in shell(*words).out


def test_emergency_calls_are_allowed_without_money_or_limit(provisioned: Shell) -> None:
    allowed = explain(provisioned, "911")
    assert (allowed["allowed"], allowed["max_seconds"], allowed["pays"]) == (True, None, [])


def test_a_call_to_a_service_number_is_paid_by_its_tenant(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "1", "--reference", "r1")
    allowed = explain(provisioned, "+18005550199")
    assert (allowed["allowed"], allowed["kind"]) == (True, "conf_in")


def test_an_explanation_is_readable(provisioned: Shell) -> None:
    out = provisioned("explain", "--tenant", "contoso", "--from", "+14255550100", "--to", "+12125550123").out
    assert out.startswith("refused 402 NO_CREDIT: credit exhausted\n")
    assert "blocked_prefix" in out
