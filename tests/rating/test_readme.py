"""The example in rating/README.md comes out as it is told, and its list of columns is the deck's."""

import doctest
import re
from pathlib import Path

from rating.columns import COLUMNS, REQUIRED

PAGE = Path(__file__).resolve().parents[2] / "rating" / "README.md"


def test_the_example_comes_out_as_told() -> None:
    outcome = doctest.testfile(str(PAGE), module_relative=False)
    assert outcome.failed == 0
    assert outcome.attempted > 8


def test_the_columns_are_the_decks() -> None:
    rows = PAGE.read_text(encoding="utf-8").partition("## Rate decks")[2].splitlines()
    cells = [line.split("|")[1:3] for line in rows if line.startswith("| `")]
    assert {name for names, _ in cells for name in re.findall(r"`(\w+)`", names)} == set(COLUMNS)
    required = {name for names, kind in cells if "required" in kind for name in re.findall(r"`(\w+)`", names)}
    assert required == {*REQUIRED, "destination"}
