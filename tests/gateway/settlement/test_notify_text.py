"""What messages say: every sentence in every language, with the figures as people write them."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from gateway.config.provisioning import TenantEntry
from gateway.ledger.notices import Contacts, Notice
from gateway.settlement import notify_text
from gateway.settlement.notify_events import EVENTS, TEST
from gateway.settlement.notify_text import LIMITS, WORDS, compose, fields
from policy.reasons import REASONS

LANGUAGES = get_args(TenantEntry.model_fields["language"].annotation)
TENANT = Contacts("contoso", "Contoso {Ltd}", "USD", "Asia/Taipei")


def catalogue(language: str) -> Catalog:
    name = f"locale/{language.replace('-', '_')}/LC_MESSAGES/notices.po"
    with files("gateway.settlement").joinpath(name).open("rb") as file:
        return read_po(file)


def sources() -> Iterator[str]:
    for _, text, _, _ in extract_from_file("python", Path(notify_text.__file__), keywords={"N_": None}):
        assert isinstance(text, str)
        yield text


def told(event: str, language: str = "en", **figures: str | int) -> notify_text.Message:
    tenant = Contacts(TENANT.tenant_id, TENANT.name, TENANT.currency, TENANT.time_zone, language=language)
    return compose(Notice("contoso", event, "1", 0, figures), tenant)


def test_every_event_has_words_and_every_limit_a_name() -> None:
    assert set(WORDS) == {*EVENTS, TEST.name}
    assert set(LIMITS) <= set(REASONS)


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_a_catalogue_has_every_sentence_with_its_figures(language: str) -> None:
    found = catalogue(language)
    texts = set(sources())
    assert {message.id for message in found if message.id} == texts
    for text in texts:
        translated = found[text].string
        assert translated, text
        assert not found[text].fuzzy, text
        assert fields(str(translated)) == fields(text)


def test_figures_are_written_as_people_write_them() -> None:
    said = told("balance.low", balance="1234.565000", notify_below="2000.000000", currency="EUR")
    assert said.subject == "Contoso {Ltd}: the balance is below €2,000.00"
    assert "€1,234.57" in said.body
    pool = told("pool.80", pool="MCOPSTN5 GB", month="2026-11", used=9_600, total=12_000, available=2_400)
    assert "9,600 of 12,000 minutes of the pool MCOPSTN5 GB are used in November 2026; 2,400 are left." in pool.body
    lot = told("lot.expiring", amount="20.000000", expires_at="2027-01-10T18:30:00.000Z")
    assert "$20.00 of the credit of Contoso {Ltd} expires on Jan 11, 2027" in lot.body
    assert "bought" not in lot.body, "what is not known is not said"
    limit = told("limit.hit", limit="LIMIT_SPEND", day="2026-12-01")
    assert (
        "On December 1, 2026 a call of Contoso {Ltd} was refused by a limit: the money that may be spent." in limit.body
    )


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("tenant", "It limits all calls."),
        ("tenant/day", "It limits all calls, counted by the day."),
        (
            "user/alice@contoso.com/month",
            "It limits calls of the user alice@contoso.com, counted by the calendar month.",
        ),
        ("class/premium", "It limits calls to numbers of the class premium."),
        ("trunk/pbx/hour", "It limits calls that come in by the trunk pbx, counted by the hour."),
        ("of/a/later/gate", "It limits of/a/later/gate."),
    ],
)
def test_whose_limit_it_was(scope: str, words: str) -> None:
    assert words in told("limit.hit", limit="LIMIT_SPEND", day="2026-12-01", scope=scope).body.split("\n")
    assert "受限範圍" in told("limit.hit", "zh-TW", limit="LIMIT_SPEND", day="2026-12-01", scope=scope).body


def test_another_language_says_it_its_own_way() -> None:
    said = told("balance.low", "zh-TW", balance="1234.565000", notify_below="2000.000000")
    assert said.subject == "Contoso {Ltd}：餘額低於 US$2,000.00"
    assert "2026年12月1日" in told("limit.hit", "zh-TW", limit="LIMIT_CALLS", day="2026-12-01").body
    assert "同時通話數" in told("limit.hit", "zh-TW", limit="LIMIT_CALLS", day="2026-12-01").body
    assert told("balance.zero", "fr", balance="0.000000").subject == told("balance.zero", balance="0.000000").subject


def test_figures_that_are_not_what_they_should_be_are_shown_as_they_are() -> None:
    said = told("lot.expiring", amount="much", expires_at="soon", limit="LIMIT_LATER")
    assert said.body.startswith("much of the credit of Contoso {Ltd} expires on soon.")
    assert told("pool.80").subject == "Contoso {Ltd}: 80 % of the included minutes are used"
    assert told("balance.low").subject == "Contoso {Ltd}: balance.low"


def test_moments_of_a_time_zone_that_is_not_known_here_are_those_of_utc() -> None:
    tenant = Contacts("contoso", "Contoso", "USD", "Atlantis/Capital")
    figures = {"amount": "5.000000", "expires_at": "2026-12-01T09:30:00Z"}
    assert "9:30" in compose(Notice("contoso", "lot.expiring", "1", 0, figures), tenant).body
