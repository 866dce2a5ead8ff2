"""Names that others have given out: countries, licences, and places that Apprise can send to.

A licence or country that nobody knows would be taken for one without minutes, prices and emergency numbers, and nobody
would notice before a user's calls are refused; so a directory that names one is refused as a whole, with its place.
"""

import csv
import logging
import re
import warnings
from difflib import get_close_matches
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

from gateway.config.facts import policy_facts


@cache
def countries() -> frozenset[str]:
    """Countries and territories of ISO 3166-1 alpha-2 that have telephone numbers (policy/data/countries.csv)."""
    return frozenset(row["region"] for row in _table("countries") if row["region"].isalpha())


@cache
def licences() -> frozenset[str]:
    """Every licence that includes minutes, opens the balance, or is about telephony otherwise."""
    facts = policy_facts()
    return frozenset({*facts.plans, *facts.conferences, *(row["capability"] for row in _table("other_licences"))})


def _table(name: str) -> list[dict[str, str]]:
    text = (resources.files("policy") / "data" / f"{name}.csv").read_text("ascii")
    return list(csv.DictReader(text.splitlines()))


def parse_country(value: object) -> str:
    """One of :func:`countries`."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z]{2}", value):
        raise ValueError('expected a country of two capital letters such as "US" (ISO 3166-1)')
    if value not in countries():
        raise ValueError('expected a country that has telephone numbers, such as "US" (ISO 3166-1)')
    return value


def parse_billing_country(value: object) -> str:
    """One of :func:`countries`, in letters of either size, or nothing."""
    if not isinstance(value, str) or not re.fullmatch(r"([A-Za-z]{2})?", value):
        raise ValueError('expected a country of two letters such as "US" (ISO 3166-1)')
    if value and value.upper() not in countries():
        raise ValueError('expected a country that has telephone numbers, such as "US" (ISO 3166-1)')
    return value


def parse_licence(value: object) -> str:
    """One of :func:`licences`."""
    if isinstance(value, str) and value in licences():
        return value
    close = get_close_matches(str(value).upper(), sorted(licences()), n=1)
    raise ValueError(
        "expected a licence of telephony" + (f'; did you mean "{close[0]}"?' if close else ' such as "MCOPSTN1"')
    )


def parse_notify(value: object) -> str:
    """A notification target: ``http(s)://`` for a webhook of our own, any other scheme is Apprise's."""
    if not isinstance(value, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S", value):
        raise ValueError('expected a notification URL such as "https://example.org/callgate" or "mailto://ADDRESS"')
    if value.partition(":")[0].lower() in ("http", "https"):
        if not _is_web(value):
            raise ValueError('expected a web address such as "https://example.org/callgate"')
    elif not _is_apprises(value):
        raise ValueError("expected a URL that Apprise can read: see https://github.com/caronc/apprise/wiki")
    return value


def _is_web(url: str) -> bool:
    """Whether a request can be made of it."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and not re.search(r"[\s\x00-\x1f]", url)
    except ValueError:  # a port that is none, a bracket that does not end
        return False


@cache
def _is_apprises(url: str) -> bool:
    """Whether one of Apprise's services takes it.  What it logs of one that none takes may hold the URL's secrets."""
    logging.getLogger("apprise").propagate = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some services import what Python 3.13 drops
        from apprise import Apprise  # takes half a second and 30 MB: only where it is needed

        return Apprise.instantiate(url, suppress_exceptions=True) is not None
