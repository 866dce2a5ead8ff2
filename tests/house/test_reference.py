"""The reference tables say what the code says; ``python tests/house/reference.py --write`` renews them."""

import re
from pathlib import Path

import pytest

from tests.house.reference import BLOCKS, ROOT, filled, parts_of

PAGES = sorted(ROOT.glob("*.md")) + sorted(
    page for folder in ("gateway", "rating", "policy", "loadtest", "tests") for page in (ROOT / folder).rglob("*.md")
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("page", BLOCKS)
def test_no_reference_is_stale(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert filled(page, text) == text, "stale: run `python tests/house/reference.py --write`"


@pytest.mark.parametrize("page", BLOCKS)
def test_every_part_stands_on_its_page_once(page: str) -> None:
    assert sorted(parts_of((ROOT / page).read_text(encoding="utf-8"))) == sorted(BLOCKS[page])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    lost = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page: Path) -> None:
    for path, name in TEST.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path
        if name:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"def {name}\(", source), f"{path}::{name}"
