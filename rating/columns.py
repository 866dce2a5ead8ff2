"""The columns of a rate deck's CSV file (CONTRACT 5): lines of text in, rows out, or the first thing that is wrong.

A deck is money, so nothing in it is guessed: an unknown column (a misspelt ``free_s`` would silently cost someone)
refuses the file as a bad value does, with the row's number, the column and the reason.

Hundreds of thousands of rows share a few thousand tariffs, names and validities.  Each is made once, under the very
text it was written as, and shared: that is what keeps a deck of 336,736 prefixes small and quick to load.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, tzinfo
from typing import Final, Literal, NamedTuple, TypeVar, cast

from rating.row import DeckError, RateRow
from rating.tariff import Tariff
from rating.validity import (
    ALWAYS_MS,
    DAY_S,
    EVERY_DAY,
    FindZone,
    Validity,
    check_days,
    read_clock,
    read_days,
    read_moment,
)

REQUIRED: Final = ("prefix", "rate_micros_per_min", "connect_micros", "first_incr_s", "next_incr_s")
"""With ``destination``, or ``label`` where that is absent."""

TARIFF_COLUMNS: Final = (
    "rate_micros_per_min", "connect_micros", "first_incr_s", "next_incr_s", "free_s", "minimum_micros",
)  # fmt: skip
VALIDITY_COLUMNS: Final = ("effective_from", "effective_to", "days", "from_time", "to_time", "time_zone")
NAME_COLUMNS: Final = ("destination", "label", "region", "type", "direction", "currency")
COLUMNS: Final = ("prefix", *TARIFF_COLUMNS, *VALIDITY_COLUMNS, *NAME_COLUMNS)

MAX_ROWS: Final = 5_000_000
"""Fifteen times the largest deck known (336,736 rows): what is longer is not a rate deck and would fill the memory."""

MAX_TEXT: Final = 500
"""Characters of a name: it is carried into every call record and report.  The longest place names of a real numbering
plan, lists of villages that share a prefix, come to 270."""

MAX_PREFIX_DIGITS: Final = 15
"""Digits of the longest E.164 number (ITU-T E.164 6.2.1)."""

MAX_PRICE_MICROS: Final = 10**11
"""A rate, connect fee or minimum: 100,000 units.  Times the 86,400 seconds of a day it stays below 2^53, where the
arbiter's doubles are exact (MONEY 1)."""

MAX_TERMS: Final = 50_000
"""Combinations of texts remembered while a file is read; rows of one destination stand together in a real deck, so
starting anew when that many were seen costs little, and a deck whose rows all differ does not fill the memory."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that do something else than be read where a name is shown; PostgreSQL takes no NUL.  A line break is one
that people write into a spreadsheet's cell."""

_HALF_BANDS: Final = (("from_time", "to_time", "ends at 24:00"), ("to_time", "from_time", "begins at 00:00"))
"""A column, the one that must stand beside it, and what that is where nothing else is meant."""

_T = TypeVar("_T")


def text_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """The lines of a file as text, decoded one by one, so that what is not UTF-8 is met in its own row.

    They may end in CR alone, as some spreadsheets still write them.  Raises UnicodeDecodeError with the line.
    """
    for line in lines:
        for piece in (line,) if line.find(b"\r", 0, -2) < 0 else line.splitlines(keepends=True):
            yield piece.decode("utf-8")


class _Terms(NamedTuple):
    """All of a row but its prefix."""

    destination: str
    region: str
    type: str
    direction: Literal["out", "in", ""]
    tariff: Tariff
    validity: Validity | None


class RowReader:
    """Reads the rows of one file: ``number`` is the last row it has read (the header is 1).

    ``currency`` is the one given, else the one the first row with a currency names.  A file that was taken by an
    earlier release and is not ``is_new`` is read as that one read it: calls are priced by it.
    """

    __slots__ = ("_columns", "_find_zone", "_is_new", "_shared", "_terms", "currency", "number")

    def __init__(self, currency: str | None, find_zone: FindZone, is_new: bool = True) -> None:
        self.currency = currency
        self._is_new = is_new
        self.number = 0
        self._find_zone = find_zone
        self._columns: list[str] = []
        self._terms: dict[tuple[str, ...], _Terms] = {}
        self._shared: dict[object, object] = {}

    def rows(self, lines: Iterable[str]) -> Iterator[RateRow]:
        """The rows in file order; blank lines are passed over.  Raises DeckError.

        Of ``lines`` as :func:`text_lines` gives them also what is not UTF-8 is told with its row and column.
        """
        records = csv.reader(lines, strict=True)
        lines_read = 0
        try:
            self._columns = _header(next(records, []))
            self.number, lines_read = 1, records.line_num
            place = self._columns.index("prefix")
            for self.number, fields in enumerate(records, start=2):
                lines_read = records.line_num
                if fields:
                    self._check_shape(fields)
                    prefix = fields.pop(place)
                    yield RateRow(_prefix(self.number, prefix), *self._terms_of(tuple(fields)))
        except csv.Error as error:
            raise DeckError(self.number + 1, "-", f"not readable as CSV: {error}") from error
        except UnicodeDecodeError as error:
            column = self._column_at(error) if records.line_num == lines_read else "-"  # else the row began above
            reason = f"not UTF-8 (byte 0x{error.object[error.start]:02x}): save the file as UTF-8"
            raise DeckError(self.number + 1, column, reason) from error

    def _column_at(self, error: UnicodeDecodeError) -> str:
        """The column in which a row's first line stops to be text; ``-`` where there is no such column."""
        before = error.object[: error.start].decode("utf-8")
        place = max(0, len(next(csv.reader([before]), [])) - 1)
        return self._columns[place] if place < len(self._columns) else "-"

    def _check_shape(self, fields: list[str]) -> None:
        if len(fields) != len(self._columns):
            reason = f"{len(fields)} fields where the header names {len(self._columns)} columns"
            raise DeckError(self.number, "-", reason)
        if self.number > MAX_ROWS:
            raise DeckError(self.number, "-", f"more than {MAX_ROWS:,} rows: not a rate deck")

    def _terms_of(self, fields: tuple[str, ...]) -> _Terms:
        terms = self._terms.get(fields)
        if terms is None:
            if len(self._terms) >= MAX_TERMS:
                self._terms.clear()
            terms = self._terms[fields] = self._read_terms(fields)
        return terms

    def _read_terms(self, fields: tuple[str, ...]) -> _Terms:
        columns = [column for column in self._columns if column != "prefix"]
        texts = dict.fromkeys(COLUMNS, "")
        texts.update({column: text.strip() for column, text in zip(columns, fields, strict=True)})
        self._check_currency(texts["currency"])
        if self._is_new:
            self._check_new(texts)
        return _Terms(
            self._name("destination", texts["destination"] or texts["label"]),
            self._name("region", texts["region"]),
            self._name("type", texts["type"]),
            self._direction(texts["direction"]),
            self._share(self._tariff(texts)),
            self._share(self._validity(texts)),
        )

    def _tariff(self, texts: dict[str, str]) -> Tariff:
        rate, connect, first, following, free, minimum = [
            self._whole(column, texts[column]) for column in TARIFF_COLUMNS
        ]
        return Tariff(rate, connect, first, following, free, minimum)

    def _share(self, value: _T) -> _T:
        """The one object kept for this value."""
        return cast(_T, self._shared.setdefault(value, value))

    def _check_new(self, texts: dict[str, str]) -> None:
        """What earlier releases took.  A deck that has nothing but labels may leave some of them empty."""
        if "destination" in self._columns and not texts["destination"] and not texts["label"]:
            raise DeckError(self.number, "destination", "empty: call records and reports name the place called by it")
        for column in ("destination", "label", "region", "type"):
            found = _CONTROL.search(texts[column])
            if found:
                reason = f"has the control character U+{ord(found[0]):04X}: write plain text"
                raise DeckError(self.number, column, reason)
        for given, absent, edge in _HALF_BANDS:
            if texts[given] and not texts[absent]:
                raise DeckError(self.number, absent, f"empty beside {given}: a day {edge}")
        self._read("days", texts, check_days, None)

    def _name(self, column: str, text: str) -> str:
        if len(text) > MAX_TEXT:
            raise DeckError(self.number, column, f"{len(text)} characters: at most {MAX_TEXT} are kept")
        return self._share(text)

    def _direction(self, text: str) -> Literal["out", "in", ""]:
        if text not in {"out", "in", ""}:
            raise DeckError(self.number, "direction", f"{text[:40]!r} is no direction: out, in, or empty for both")
        return cast(Literal["out", "in", ""], text)

    def _check_currency(self, text: str) -> None:
        if not text or text == self.currency:
            return
        if self.currency is not None:
            reason = f"{text[:40]!r} in a deck of {self.currency}: a deck has one currency"
            raise DeckError(self.number, "currency", reason)
        if not (len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()):
            reason = f"{text[:40]!r} is not a currency: write three capital letters (ISO 4217)"
            raise DeckError(self.number, "currency", reason)
        self.currency = text

    def _whole(self, column: str, text: str) -> int:
        if not text and column not in REQUIRED:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_PREFIX_DIGITS):
            raise DeckError(self.number, column, f"{text[:40]!r} is not a whole number of {_unit(column)}")
        least, most = _bounds(column)
        if not least <= int(text) <= most:
            raise DeckError(self.number, column, f"{text} is not between {least} and {most} {_unit(column)}")
        return int(text)

    def _validity(self, texts: dict[str, str]) -> Validity | None:
        if not any(texts[column] for column in VALIDITY_COLUMNS):
            return None
        zone: tzinfo = UTC
        zone = self._read("time_zone", texts, self._zone, zone)
        validity = Validity(
            self._read("effective_from", texts, lambda text: read_moment(text, zone), 0),
            self._read("effective_to", texts, lambda text: read_moment(text, zone), ALWAYS_MS),
            self._read("days", texts, read_days, EVERY_DAY),
            self._read("from_time", texts, read_clock, 0),
            self._read("to_time", texts, read_clock, DAY_S),
            zone,
        )
        if validity.from_unix_ms >= validity.to_unix_ms:
            raise DeckError(self.number, "effective_to", "not after effective_from: the row would never hold")
        if validity.from_s == validity.to_s:
            raise DeckError(self.number, "to_time", "the same as from_time: leave both empty for the whole day")
        return None if validity == Validity(zone=zone) else validity

    def _zone(self, name: str) -> tzinfo:
        try:
            return self._find_zone(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not a time zone: write an IANA name such as Europe/Berlin") from error

    def _read(self, column: str, texts: dict[str, str], parse: Callable[[str], _T], absent: _T) -> _T:
        if not texts[column]:
            return absent
        try:
            return parse(texts[column])
        except (ValueError, OverflowError) as error:
            raise DeckError(self.number, column, str(error)) from error


def _header(fields: list[str]) -> list[str]:
    """The columns in file order.  A byte order mark before the first name is a spreadsheet's, not a part of it."""
    columns = [field.removeprefix("\ufeff").strip() for field in fields]
    if not columns:
        raise DeckError(1, "-", f"the first row must name the columns: {', '.join(REQUIRED)} …")
    for column in columns:
        if column not in COLUMNS:
            raise DeckError(1, column[:40], f"no column of a rate deck; known are {', '.join(COLUMNS)}")
        if columns.count(column) > 1:
            raise DeckError(1, column, "named twice")
    for column in REQUIRED:
        if column not in columns:
            raise DeckError(1, column, "missing: every row needs it")
    if "destination" not in columns and "label" not in columns:
        raise DeckError(1, "destination", "missing, and no label that could serve in its place")
    return columns


def _prefix(number: int, text: str) -> str:
    if text.isdigit() and text.isascii() and text[0] != "0" and len(text) <= MAX_PREFIX_DIGITS:
        return text
    digits = text.strip().removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise DeckError(number, "prefix", f"{text[:40]!r} is not a prefix: write the first digits of E.164 numbers")
    if len(digits) > MAX_PREFIX_DIGITS:
        raise DeckError(number, "prefix", f"{len(digits)} digits: a number has at most {MAX_PREFIX_DIGITS}")
    if digits[0] == "0":
        raise DeckError(number, "prefix", f"{digits} begins with 0: write the country code first, as E.164 does")
    return digits


def _bounds(column: str) -> tuple[int, int]:
    """The least and the most of a column: increments and free seconds are at most a day."""
    if column.endswith("_s"):
        return int(column.endswith("incr_s")), DAY_S
    return 0, MAX_PRICE_MICROS


def _unit(column: str) -> str:
    if column.endswith("_s"):
        return "seconds"
    return "micro-units a minute" if column.endswith("_per_min") else "micro-units"
