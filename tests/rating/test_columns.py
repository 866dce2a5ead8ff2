"""Deck files: what is read from each column, and that a bad row refuses the file and says where and why."""

import io

import pytest

from rating.columns import MAX_TERMS
from rating.deck import Deck, DeckError, load_deck, text_lines
from rating.tariff import Tariff

HEADER = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s"
GOOD = "44,United Kingdom,20000,0,60,60"
AT_MS = 1_767_600_000_000  # Monday 2026-01-05 08:00:00 UTC


def load(*lines: str, currency: str | None = "USD") -> Deck:
    return load_deck("standard", [f"{line}\n" for line in lines], currency)


def test_the_required_columns() -> None:
    found = load(HEADER, GOOD).lookup("442079460000", "out", AT_MS)
    assert found is not None
    assert found.destination == "United Kingdom"
    assert (found.prefix, found.region, found.type, found.direction, found.validity) == ("44", "", "", "", None)
    assert found.tariff == Tariff(20_000)


def test_every_column_in_any_order() -> None:
    deck = load(
        "currency,type,free_s,prefix,minimum_micros,destination,region,rate_micros_per_min,next_incr_s,first_incr_s,"
        "connect_micros,direction,effective_from,effective_to,days,from_time,to_time,time_zone,label",
        "EUR,MOBILE,5,4915,7,Germany mobile,DE,120000,6,30,900,out,"
        "2026-01-01,2026-02-01,mon-fri,08:00,18:00,Europe/Berlin,D1",
        currency=None,
    )
    assert deck.currency == "EUR"
    found = deck.lookup("491512345678", "out", AT_MS)
    assert found is not None
    assert (found.destination, found.region, found.type, found.direction) == ("Germany mobile", "DE", "MOBILE", "out")
    assert found.tariff == Tariff(120_000, 900, 30, 6, 5, 7)
    assert deck.lookup("491512345678", "in", AT_MS) is None
    assert deck.lookup("491512345678", "out", AT_MS - 2 * 3_600_000) is None
    assert deck.lookup("491512345678", "out", AT_MS + 31 * 86_400_000) is None


def test_label_serves_where_destination_is_absent_or_empty() -> None:
    header = "prefix,label,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s"
    found = load(header, "44,Kingdom,1,0,1,1").lookup("44", "out", AT_MS)
    assert found is not None
    assert found.destination == "Kingdom"
    found = load(f"destination,{header}", ",44,Kingdom,1,0,1,1").lookup("44", "out", AT_MS)
    assert found is not None
    assert found.destination == "Kingdom"


def test_a_deck_of_labels_may_leave_some_of_them_empty() -> None:
    found = load("prefix,label,region,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s", "1203,,US,1,0,1,1")
    row = found.lookup("1203", "out", AT_MS)
    assert row is not None
    assert (row.destination, row.region) == ("", "US")


def test_a_line_break_inside_a_cell_is_one_that_people_write() -> None:
    found = load(HEADER, '44,"United\nKingdom",1,0,1,1').lookup("44", "out", AT_MS)
    assert found is not None
    assert found.destination == "United\nKingdom"


def test_what_spreadsheets_leave_behind_is_read() -> None:
    deck = load("\ufeff" + HEADER, ' +44 ," Jersey, and ""the"" rest ", 5 ,0,60,60', "", "49,Germany,6,0,60,60")
    found = deck.lookup("441534", "out", AT_MS)
    assert found is not None
    assert found.destination == 'Jersey, and "the" rest'
    assert len(deck) == 2


def test_empty_optional_fields_are_as_good_as_absent() -> None:
    deck = load(f"{HEADER},free_s,minimum_micros,direction,effective_from,days,time_zone", f"{GOOD},,,,,,")
    found = deck.lookup("44", "in", AT_MS)
    assert found is not None
    assert found.tariff == Tariff(20_000)
    assert found.validity is None


def test_a_time_zone_alone_does_not_narrow_a_row() -> None:
    found = load(f"{HEADER},time_zone", f"{GOOD},Europe/London").lookup("44", "out", AT_MS)
    assert found is not None
    assert found.validity is None


@pytest.mark.parametrize(
    ("header", "line", "column", "reason"),
    [
        (HEADER, ",x,1,0,60,60", "prefix", "is not a prefix"),
        (HEADER, "44x,x,1,0,60,60", "prefix", "is not a prefix"),
        (HEADER, "٤٤,x,1,0,60,60", "prefix", "is not a prefix"),
        (HEADER, "044,x,1,0,60,60", "prefix", "begins with 0: write the country code first"),
        (HEADER, "1234567890123456,x,1,0,60,60", "prefix", "16 digits: a number has at most 15"),
        (HEADER, "44,x,0.01,0,60,60", "rate_micros_per_min", "is not a whole number of micro-units a minute"),
        (HEADER, "44,x,,0,60,60", "rate_micros_per_min", "is not a whole number"),
        (HEADER, "44,x,-1,0,60,60", "rate_micros_per_min", "is not a whole number"),
        (HEADER, "44,x,100000000001,0,60,60", "rate_micros_per_min", "is not between 0 and 100000000000"),
        (HEADER, "44,x,1,1e3,60,60", "connect_micros", "is not a whole number of micro-units"),
        (HEADER, "44,x,1,0,0,60", "first_incr_s", "0 is not between 1 and 86400 seconds"),
        (HEADER, "44,x,1,0,60,86401", "next_incr_s", "86401 is not between 1 and 86400 seconds"),
        (HEADER, "44,x,1,0,60,9999999999999999", "next_incr_s", "is not a whole number of seconds"),
        (HEADER, "44,x,1,0,60", "-", "5 fields where the header names 6 columns"),
        (HEADER, "44,x,1,0,60,60,7", "-", "7 fields where the header names 6 columns"),
        (HEADER, f"44,{'x' * 501},1,0,60,60", "destination", "501 characters: at most 500 are kept"),
        (HEADER, "44,,1,0,60,60", "destination", "empty: call records and reports name the place called by it"),
        (f"{HEADER},label", "44, ,1,0,60,60, ", "destination", "empty"),
        (HEADER, "44,United\x1b[1m,1,0,60,60", "destination", "has the control character U+001B"),
        (f"{HEADER},region", f"{GOOD},D\u202eE", "region", "has the control character U+202E"),
        (HEADER, '44,"x"y,1,0,60,60', "-", "not readable as CSV"),
        (HEADER, '44,"x,1,0,60,60', "-", "not readable as CSV"),
        (f"{HEADER},free_s", f"{GOOD},-5", "free_s", "is not a whole number of seconds"),
        (f"{HEADER},minimum_micros", f"{GOOD},1.5", "minimum_micros", "is not a whole number of micro-units"),
        (f"{HEADER},direction", f"{GOOD},inbound", "direction", "'inbound' is no direction: out, in, or empty"),
        (f"{HEADER},currency", f"{GOOD},EUR", "currency", "'EUR' in a deck of USD: a deck has one currency"),
        (f"{HEADER},effective_from", f"{GOOD},soon", "effective_from", "is not a date or time"),
        (f"{HEADER},days", f"{GOOD},someday", "days", "is not a day of the week"),
        (f"{HEADER},days", f"{GOOD},mon mon", "days", "'mon mon' names mon twice"),
        (f"{HEADER},from_time,to_time", f"{GOOD},8am,24:00", "from_time", "is not a time of day"),
        (f"{HEADER},from_time", f"{GOOD},08:00", "to_time", "empty beside from_time: a day ends at 24:00"),
        (f"{HEADER},from_time,to_time", f"{GOOD},,18:00", "from_time", "empty beside to_time: a day begins at 00:00"),
        (f"{HEADER},time_zone", f"{GOOD},Berlin", "time_zone", "'Berlin' is not a time zone: write an IANA name"),
        (f"{HEADER},time_zone", f"{GOOD},../../etc/passwd", "time_zone", "is not a time zone"),
        (f"{HEADER},from_time,to_time", f"{GOOD},08:00,08:00", "to_time", "the same as from_time"),
        (f"{HEADER},effective_from,effective_to", f"{GOOD},2026-02-01,2026-02-01", "effective_to",
         "the row would never hold"),
    ],
)  # fmt: skip
def test_a_bad_row_refuses_the_file(header: str, line: str, column: str, reason: str) -> None:
    good = GOOD + "," * (header.count(",") - GOOD.count(","))
    with pytest.raises(DeckError, match=r"^row 3, column ") as caught:
        load(header, good.replace("44", "49", 1), line)
    assert (caught.value.row, caught.value.column) == (3, column)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "line", ["44,,1,0,60,60,,,", "44,U\x1bK,1,0,60,60,,,", "44,UK,1,0,60,60,,08:00,", "44,UK,1,0,60,60,mon mon,,"]
)
def test_what_an_earlier_release_took_is_read_as_it_was(line: str) -> None:
    lines = [f"{HEADER},days,from_time,to_time\n", line]
    with pytest.raises(DeckError):
        load_deck("standard", lines, "USD")
    assert len(load_deck("standard", lines, "USD", is_new=False)) == 1


def test_two_rows_of_one_prefix_for_the_same_moments_refuse_the_file() -> None:
    with pytest.raises(DeckError, match="row 3, column prefix: prefix 44 has a row above"):
        load(HEADER, GOOD, "44,again,1,0,1,1")


@pytest.mark.parametrize(
    ("header", "column", "reason"),
    [
        ("", "-", "the first row must name the columns"),
        (HEADER.replace("connect_micros", "connect"), "connect", "no column of a rate deck; known are prefix,"),
        (HEADER.replace("connect_micros,", ""), "connect_micros", "missing: every row needs it"),
        (HEADER.replace("destination,", ""), "destination", "missing, and no label"),
        (f"{HEADER},free_s,free_s", "free_s", "named twice"),
    ],
)
def test_a_bad_header_refuses_the_file(header: str, column: str, reason: str) -> None:
    with pytest.raises(DeckError) as caught:
        load(header, GOOD)
    assert (caught.value.row, caught.value.column) == (1, column)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("row", "column", "content"),
    [
        (1, "-", b"\xff\xfep\0r\0e\0"),
        (1, "-", HEADER.encode().replace(b"destination", b"destina\xe9ion")),
        (3, "destination", b"%s\n44,UK,1,0,60,60\n33,Orl\xe9ans,1,0,60,60\n34,Spain,1,0,60,60\n"),
        (3, "destination", b'%s\n44,UK,1,0,60,60\n33,"Paris, Orl\xe9ans",1,0,60,60\n'),
        (3, "prefix", b"%s\n44,UK,1,0,60,60\n\xa033,France,1,0,60,60\n"),
        (3, "rate_micros_per_min", b"%s\n44,UK,1,0,60,60\n33,France,\xa31,0,60,60\n"),
        (3, "-", b'%s\n44,UK,1,0,60,60\n33,"Paris\nOrl\xe9ans",1,0,60,60\n'),
        (4, "destination", b'%s\n44,"U\nK",1,0,60,60\n\n33,Orl\xe9ans,1,0,60,60\n'),
        (3, "-", b"%s\n44,UK,1,0,60,60\n33,France,1,0,60,60,Orl\xe9ans\n"),
        (3, "destination", b"%s\r44,UK,1,0,60,60\r33,Orl\xe9ans,1,0,60,60\r"),
        (3, "destination", b"%s\r\n44,UK,1,0,60,60\r\n33,Orl\xe9ans,1,0,60,60\r\n"),
        (90_002, "destination", b"%s\n" + b"".join(b"9%d,Place,1,0,60,60\n" % n for n in range(90_000)) + b"33,\x80\n"),
    ],
)
def test_what_is_not_utf8_is_told_with_its_row_and_column(row: int, column: str, content: bytes) -> None:
    with pytest.raises(DeckError, match=r"not UTF-8 .* save the file as UTF-8") as caught:
        load_deck("standard", text_lines(io.BytesIO(content.replace(b"%s", HEADER.encode()))), "USD")
    assert (caught.value.row, caught.value.column) == (row, column)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_bytes_end_as_lines_of_text_do(end: str) -> None:
    whole = end.join(["\ufeff" + HEADER, "44,Saint-É\u2028mile,1,0,60,60", '33,"Two\x0b', f'lines",1,0,60,60{end}'])
    with io.StringIO(whole, newline="") as text:
        assert list(text_lines(io.BytesIO(whole.encode()))) == list(text)
    assert len(load_deck("standard", text_lines(io.BytesIO(whole.encode())), "USD")) == 2


def test_a_header_that_is_no_csv_is_row_one() -> None:
    with pytest.raises(DeckError, match="row 1, column -: not readable as CSV"):
        load_deck("standard", ['"prefix"x,destination\n'], "USD")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(DeckError, match="row 1, column -: the first row must name the columns"):
        load_deck("standard", [], "USD")


def test_the_currency_is_the_one_given_else_the_one_of_the_rows() -> None:
    assert load(HEADER, GOOD).currency == "USD"
    assert load(f"{HEADER},currency", f"{GOOD},EUR", currency=None).currency == "EUR"
    with pytest.raises(DeckError, match="row 1, column currency: missing"):
        load(HEADER, GOOD, currency=None)
    with pytest.raises(DeckError, match="row 2, column currency: 'euro' is not a currency: write three capital"):
        load(f"{HEADER},currency", f"{GOOD},euro", currency=None)


def test_more_kinds_of_rows_than_are_remembered_are_read_all_the_same() -> None:
    rows = (f"{100_000 + place},place {place},1,0,60,60" for place in range(MAX_TERMS + 10))
    assert len(load(HEADER, *rows)) == MAX_TERMS + 10
