"""What the documentation says is shown by a test is shown by a test that there is."""

import ast
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
_NAMED: Final = re.compile(r"`((?:tests/)?[\w/]+\.py)(?:::(test_\w+?)(…|\.\.\.)?)?`")
"""A file of tests, with or without ``tests/`` before it, and perhaps one of its tests, cut short by dots or not."""


@lru_cache
def functions_of(path: Path) -> frozenset[str]:
    """The names of the functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def named() -> list[tuple[str, str, str, bool]]:
    """Where, file, test (empty: the file alone), whether its name is cut short."""
    found = []
    for page in sorted(ROOT.glob("**/README.md")):
        if ".venv" in page.parts:
            continue
        for file, test, dots in _NAMED.findall(page.read_text(encoding="utf-8")):
            if "test" in file:
                found.append((str(page.relative_to(ROOT)), file, test, bool(dots)))
    return found


def files_of(page: str, file: str) -> list[Path]:
    """The files that a page means by a name: from the root, from ``tests``, or any in ``tests`` that ends so."""
    exact = [path for path in (ROOT / file, ROOT / "tests" / file, (ROOT / page).parent / file) if path.is_file()]
    return exact or [
        path for path in (ROOT / "tests").glob(f"**/{file.rpartition('/')[2]}") if str(path).endswith(file)
    ]


def test_the_documentation_names_tests() -> None:
    assert len(named()) > 100


@pytest.mark.parametrize("page", sorted({page for page, *_ in named()}))
def test_each_test_that_is_named_exists(page: str) -> None:
    missing = [
        f"{file}::{test}"
        for where, file, test, is_cut in named()
        if where == page and not any(_has(path, test, is_cut) for path in files_of(page, file))
    ]
    assert not missing, f"{page} names what is not there: {missing}"


def _has(path: Path, test: str, is_cut: bool) -> bool:
    return not test or any(name == test or (is_cut and name.startswith(test)) for name in functions_of(path))
