"""The shipped tables: whole, as the tool writes them, and saying which release they are from."""

import gzip
import re
from importlib import resources
from pathlib import Path

import phonenumbers

from gateway.config.compile_numbers import CallingCode, write_tables
from gateway.config.facts import number_plan, policy_facts
from policy.plan import NumberClass

DATA = resources.files("policy") / "data"


def unpacked(name: str, data: bytes) -> bytes:
    return gzip.decompress(data) if name.endswith(".gz") else data


def test_the_number_plan_is_loaded_from_the_package() -> None:
    plan = number_plan()
    assert plan.classify("14255550100") == NumberClass("US", "fixed_or_mobile")
    assert plan.is_emergency("112", "DE")
    country = plan.country("FR")
    assert country is not None
    assert country.calling_code == "33"


def test_every_table_is_named_with_its_source() -> None:
    sources = (DATA / "SOURCES.md").read_text("utf-8")
    tables = {each.name for each in DATA.iterdir()} - {"SOURCES.md"}
    assert {name for name in tables if f"`{name}`" not in sources} == set()


def test_the_facts_of_licensing_are_read_once() -> None:
    assert policy_facts() is policy_facts()


def test_the_tables_are_what_the_tool_writes_with_the_release_they_name(tmp_path: Path) -> None:
    write_tables(tmp_path)
    sources = (DATA / "SOURCES.md").read_text("utf-8")
    for name in ("numbers.csv.gz", "countries.csv", "emergency.csv"):
        written = unpacked(name, (tmp_path / name).read_bytes())
        shipped = unpacked(name, (DATA / name).read_bytes())
        assert written.splitlines()[0] == shipped.splitlines()[0]
        assert name in sources
        if f"phonenumbers) {phonenumbers.__version__}," in sources:  # another release knows other numbers
            assert written == shipped


def test_a_calling_code_is_walked_to_where_only_lengths_matter() -> None:
    """The world's premium numbers are 979 and nine digits, the first of them a price band."""
    shape = phonenumbers.PhoneMetadata.metadata_for_nongeo_region(979).general_desc.national_number_pattern
    bands = [digit for digit in "0123456789" if re.fullmatch(shape, f"{digit}00000000")]
    assert dict(CallingCode(979, ["001"]).rows()) == {f"979{band}": "001/premium:12" for band in bands}
