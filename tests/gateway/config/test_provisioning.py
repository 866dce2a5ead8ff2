"""Provisioning: every key of the contract is read, every contradiction inside one file is told."""

import tomllib
from pathlib import Path

import pytest

from gateway.config import provisioning
from gateway.config.problems import ConfigError
from gateway.config.provisioning import ROLES, Provisioning
from policy.directory import CountedLimits

CONTRACT = r"""
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"

[[tenant]]
id = "contoso"
name = "Contoso Ltd"
country = "US"
currency = "USD"
rate_deck = "standard"
mode = "prepaid"
licensing = "per-user"
dial_out_policy = "DialoutCPCandPSTNInternational"
failure_policy = "terminate"
minimum_funding = "50"
limits = { max_calls = 50, calls_per_second = 10, spend_per_day = "200.00", max_rate_per_minute = "2.00", blocked_prefixes = ["+882", "+979"] }
recharge = { enabled = true, trigger = "50", amount = "200" }
notify = ["mailto://billing@example.org"]
dial_plan = [ { pattern = '^(\d{4})$', translation = '+1425555$1' } ]
time_zone = "America/Los_Angeles"
billing_region = "US"
notify_below = "10"
purchased = [{ sku = "MCOPSTN1", usage_country = "US", count = 100 }]

[[tenant.user]]
id = "alice@contoso.com"
number = "+14255550100"
usage_location = "US"
licences = ["MCOPSTN1", "MCOPSTNPP"]
spend_limit_per_month = "20.00"
blocked = false
barred_toll_free = true
dial_out_policy = "DialoutCPCandPSTNDisabled"
dial_plan = []
limits = { max_calls = 1 }

[[tenant.service_number]]
number = "+18005550199"
kind = "toll_free"
serves = "conference"
deliver_to = "pbx"
licences = ["MCOEV"]
organiser = "alice@contoso.com"

[[tenant.admin]]
email = "admin@example.org"
roles = ["Billing Administrator", "teams_service", "Company"]

[[tenant.unassigned]]
pattern = '^\+1425555(\d{4})$'
target = "+14255550100"
"""  # noqa: E501  as it stands in the contract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deck.csv").write_text("prefix\n")
    return tmp_path


def read(text: str, folder: Path) -> Provisioning:
    return provisioning.parse(tomllib.loads(text), "tenants.toml", folder)


def test_every_key_of_the_contract_is_read(folder: Path) -> None:
    found = read(CONTRACT, folder)
    (tenant,) = found.tenant
    (user,) = tenant.user
    assert found.rate_deck[0].file == folder / "deck.csv"
    assert tenant.minimum_funding_micros == 50_000_000
    assert tenant.limits.spend_per_day_micros == 200_000_000
    assert tenant.limits.max_rate_micros_per_min == 2_000_000
    assert (tenant.recharge.trigger_micros, tenant.recharge.amount_micros) == (50_000_000, 200_000_000)
    assert user.spend_limit_per_month_micros == 20_000_000
    assert user.limits.max_calls == 1
    assert tenant.admin[0].roles == ("Billing", "Teams Service", "Global")
    assert tenant.service_number[0].deliver_to == "pbx"


def test_limits_of_number_classes(folder: Path) -> None:
    text = '[[tenant]]\nid = "t"\nrate_deck = "d"\nclass_limits = [{ number_class = "premium", max_calls = 2 }]\n'
    (entry,) = read(text, folder).tenant[0].class_limits
    assert (entry.number_class, entry.counted()) == ("premium", CountedLimits(max_calls=2))


@pytest.mark.parametrize(
    ("night", "words"),
    [
        ('begins = "22:00", ends = "22:00"', "another time than"),
        ('begins = "24:00", ends = "06:00"', "a time of day"),
        ('begins = 22, ends = "06:00"', "a time of day"),
    ],
)
def test_a_night_begins_and_ends(folder: Path, night: str, words: str) -> None:
    text = '[[tenant]]\nid = "t"\nrate_deck = "d"\nlimits = { night = { %s } }\n'
    (tenant,) = read(text % 'begins = "22:00", ends = "06:30"', folder).tenant
    assert tenant.limits.night is not None
    assert (tenant.limits.night.begins, tenant.limits.night.ends) == (1320, 390)
    with pytest.raises(ConfigError, match=words):
        read(text % night, folder)


def test_what_is_left_out_is_unlimited(folder: Path) -> None:
    (tenant,) = read('[[tenant]]\nid = "t"\nrate_deck = "d"\n', folder).tenant
    limits = tenant.limits
    assert {name: getattr(limits, name) for name in type(limits).model_fields} == {
        **dict.fromkeys(type(limits).model_fields),
        "blocked_prefixes": (),
        "open_high_risk": (),
        "range_digits": 6,
    }
    assert (tenant.mode, tenant.licensing, tenant.minimum_funding_micros) == ("prepaid", "none", None)


def tenant(text: str) -> str:
    return f'[[tenant]]\nid = "t"\nrate_deck = "d"\n{text}\n'


SERVICE = 'number = "+18005550199", kind = "toll", serves = "conference", deliver_to = "pbx"'
PLAN = 'sku = "MCOPSTN5", usage_country = "US"'
QUEUE = SERVICE.replace("conference", "call_queue")
WRONG = [
    ('[[tenant]]\nrate_deck = "d"', "tenant[0].id: is required"),
    ('[[tenant]]\nid = "t"', "tenant[0].rate_deck: is required"),
    ('[[tenant]]\nrate_deck = "d"\nid = "a/b"', "expected an id of visible characters without spaces"),
    ('[[tenant]]\nrate_deck = "d"\nid = "a\\u0000"', "expected an id of visible characters"),
    ('[[tenant]]\nrate_deck = "d"\nid = "a\\u200b"', "expected an id of visible characters"),
    (tenant('currency = "usd"'), "three capital letters"),
    (tenant('currency = "USX"'), 'tenant[0].currency = "USX": expected a currency'),
    (tenant('currency = "XXX"'), 'tenant[0].currency = "XXX": expected a currency'),
    (tenant('country = "USA"'), "two capital letters"),
    (tenant('name = "Con\\u001btoso"'), "tenant[0].name"),
    (tenant('user = [{ id = "a", name = "A\\nB" }]'), "it has the control character U+000A"),
    (tenant('user = [{ id = "a", name = "\\u202eA" }]'), "it has the control character U+202E"),
    (tenant("dial_plan = [{ pattern = '^1$', translation = \"1\\u0000\" }]"), "it has the control character U+0000"),
    (tenant('dial_plan = [{ pattern = "^1\\u0000$", translation = "1" }]'), "it has the control character U+0000"),
    (tenant('unassigned = [{ pattern = "1\\n2", target = "pbx" }]'), "it has the control character U+000A"),
    (tenant('admin = [{ email = "a\\u0000@y", roles = [] }]'), "expected an e-mail address"),
    (
        tenant('limits = { open_high_risk = ["+44"] }'),
        'tenant[0].limits.open_high_risk[0] = "+44": expected a high-risk',
    ),
    (tenant('limits = { open_high_risk = ["+8816", "+88"] }'), "tenant[0].limits.open_high_risk[1]"),
    (tenant("limits = { range_digits = 5 }"), "limits.range_digits = 5: only with numbers_per_range_per_hour"),
    (tenant('class_limits = [{ number_class = "mobile" }]'), "tenant[0].class_limits[0]: expected a limit"),
    (
        tenant('user = [{ id = "a", spend_limit_per_month = "1", limits = { spend_per_month = "2" } }]'),
        "tenant[0].user[0].limits.spend_per_month: the same as spend_limit_per_month: give one",
    ),
    (tenant('mode = "postpaid"'), 'tenant[0].credit_limit: is required with mode = "postpaid", such as "500.00"'),
    (tenant('credit_limit = "5"'), 'tenant[0].credit_limit: only with mode = "postpaid"'),
    (tenant("limits = { max_call = 5 }"), 'tenant[0].limits.max_call = 5: unknown key; did you mean "max_calls"?'),
    (tenant('limits = { max_calls = "5" }'), "expected a whole number"),
    (tenant('recharge = { enabled = true, trigger = "5" }'), "expected an amount above 0"),
    (
        tenant('mode = "postpaid"\ncredit_limit = "5"\nrecharge = { enabled = true, amount = "5" }'),
        'tenant[0].recharge.enabled = true: only with mode = "prepaid"',
    ),
    (
        tenant('minimum_funding = "50"\nrecharge = { enabled = true, amount = "49.99" }'),
        'tenant[0].recharge.amount = "49.99": expected at least minimum_funding, 50.00',
    ),
    (tenant('billing_region = "USA"'), 'tenant[0].billing_region = "USA": expected a country of two letters'),
    (tenant('notify = ["billing@example.org"]'), 'URL such as "https://example.org/callgate" or "mailto://ADDRESS"'),
    (tenant('notify = ["nonsense://example.org/x"]'), "tenant[0].notify[0]"),
    (tenant('notify = ["slack://x"]'), "expected a URL that Apprise can read"),
    (tenant('notify = ["https://u@h", "https://example.org:99999/x"]'), "tenant[0].notify[1]"),
    (tenant('notify = ["http:///callgate"]'), "expected a web address"),
    (tenant('country = "XX"'), 'tenant[0].country = "XX": expected a country that has telephone numbers'),
    (tenant('billing_region = "zz"'), 'tenant[0].billing_region = "zz": expected a country that has telephone numbers'),
    (tenant('user = [{ id = "a" }, { id = "b", usage_location = "UK" }]'), 'tenant[0].user[1].usage_location = "UK"'),
    (
        tenant('user = [{ id = "a", licences = ["MCOPSTN1", "MCOPSTN3"] }]'),
        'tenant[0].user[0].licences[1] = "MCOPSTN3": expected a licence of telephony; did you mean "MCOPSTN',
    ),
    (tenant('purchased = [{ sku = "E5", usage_country = "US", count = 1 }]'), 'tenant[0].purchased[0].sku = "E5"'),
    (tenant('notify_below = "five"'), 'tenant[0].notify_below = "five": expected an amount'),
    (tenant(f"purchased = [{{ {PLAN}, count = 100000001 }}]"), "purchased[0].count = 100000001: expected at most"),
    (
        tenant(f"purchased = [{{ {PLAN}, count = 1 }}, {{ {PLAN}, count = 2 }}]"),
        'tenant[0].purchased[1].sku = "MCOPSTN5 in US": expected each once',
    ),
    (tenant('time_zone = "Mars/Base"'), "expected an IANA time zone"),
    (tenant('dial_out_policy = "all"'), "expected a dial-out policy"),
    (tenant('external_prefix = "90000"'), 'tenant[0].external_prefix = "90000": expected one to four digits, * or #'),
    (tenant("dial_plan = [{ pattern = '(', translation = 'x' }]"), "expected a regular expression"),
    (tenant("dial_plan = [{ pattern = '^1$', translation = '$1' }]"), "names a group the pattern lacks"),
    (tenant('admin = [{ email = "x", roles = [] }]'), "expected an e-mail address"),
    (tenant('admin = [{ email = "x@y", roles = ["King"] }]'), "expected an administrator role: Billing"),
    (tenant('user = [{ id = "a", number = "14255550100" }]'), "expected a whole number in E.164 with +"),
    (tenant('user = [{ id = "a", number = "+911" }]'), "of 7 to 15 digits"),
    (tenant('user = [{ id = "a", number = "+1425555010" }]'), "those of this range have more digits"),
    (tenant(f"service_number = [{{ {SERVICE.replace('0199', '01')} }}]"), "tenant[0].service_number[0].number"),
    (tenant('user = [{ id = "a" }, { id = "a" }]'), 'tenant[0].user[1].id = "a": expected each once'),
    (tenant('user = [{ id = "a", number = "+14255550100" }, { id = "b", number = "+14255550100" }]'), "already the"),
    (tenant(f"service_number = [{{ {SERVICE}, organiser = 'nobody' }}]"), "expected a user of this tenant"),
    (
        tenant(f"user = [{{ id = 'a' }}]\nservice_number = [{{ {QUEUE}, organiser = 'a' }}]"),
        'tenant[0].service_number[0].organiser = "a": only with serves = "conference"',
    ),
    (tenant("") + tenant(""), 'tenant[1].id = "t": expected each once'),
    ('[[rate_deck]]\nname = "d"\nfile = "nowhere.csv"', "expected a file that is there"),
    ('[[rate_deck]]\nname = "d"\nfile = "deck.csv"\ncurrency = "EUR"\n' + tenant(""), "a deck in USD"),
    ('[[tenants]]\nid = "t"', 'tenants: unknown key; did you mean "tenant"?'),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_wrong_key_is_told(text: str, expected: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    (problem,) = caught.value.problems
    assert str(problem).startswith("tenants.toml: ")
    assert expected in str(problem)


def test_a_problem_shows_what_a_terminal_would_obey(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tenant('name = "a\\u001b[31mb\\u0000"\n"c\\r" = 1'), folder)
    told = str(caught.value)
    assert 'tenant[0].name = "a\\u001B[31mb\\u0000": expected one line' in told
    assert "tenant[0].c\\u000D = 1: unknown key" in told


def test_each_wrong_entry_of_a_list_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tenant('limits = { open_high_risk = ["881", "+8"] }'), folder)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["tenant[0].limits.open_high_risk[0]", "tenant[0].limits.open_high_risk[1]"]


def test_names_may_have_whatever_people_write(folder: Path) -> None:
    name = "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627 \U0001f468\u200d\U0001f469"
    (found,) = read(tenant(f'user = [{{ id = "a", name = "{name}" }}]'), folder).tenant
    assert found.user[0].name == name


def test_a_number_belongs_to_one_tenant_only(folder: Path) -> None:
    one = '[[tenant]]\nid = "a"\nrate_deck = "d"\nuser = [{ id = "u", number = "+14255550100" }]\n'
    service = '{ number = "+14255550100", kind = "toll", serves = "conference", deliver_to = "pbx" }'
    with pytest.raises(ConfigError, match=r"tenant\[1\].service_number\[0\].number.*already the number of tenant\[0\]"):
        read(one + f'[[tenant]]\nid = "b"\nrate_deck = "d"\nservice_number = [{service}]\n', folder)


def test_notification_urls_are_never_shown(folder: Path) -> None:
    found = read(tenant('notify = ["slack://hunter2/hunter2/hunter2"]'), folder)
    assert "hunter2" not in repr(found)
    for wrong in ("hunter2", "slack://hunter2", "https://u:hunter2@[example.org"):
        with pytest.raises(ConfigError) as caught:
            read(tenant(f'notify = ["{wrong}"]'), folder)
        assert "hunter2" not in str(caught.value)


def test_there_are_sixteen_roles_that_are_told() -> None:
    assert len(ROLES) == len(set(ROLES)) == 16


def test_load_reads_a_file_and_finds_decks_beside_it(folder: Path) -> None:
    (folder / "tenants.toml").write_text(CONTRACT)
    assert provisioning.load(folder / "tenants.toml").rate_deck[0].file == folder / "deck.csv"
