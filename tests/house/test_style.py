"""Style is a test: ruff, mypy, import contracts, file and function sizes, and what each package must carry."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "rating", "policy", "loadtest")
TOP_LEVEL = {"pyproject.toml", "README.md", "gateway", "rating", "policy", "loadtest", "tests", "Dockerfile", "LICENSE"}
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:  # an unpacked source archive has no git
        return [path.relative_to(ROOT) for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py")]
    return [Path(name) for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


SOURCES = sorted(path for path in tracked() if path.suffix == ".py")


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", ".")


def test_the_code_stands_as_ruff_formats_it() -> None:
    run("ruff", "format", "--check", ".")


def test_types_are_complete() -> None:
    run("mypy")


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


def test_top_level_is_the_one_agreed() -> None:
    top = {path.parts[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_gateway_init_is_empty() -> None:
    assert (ROOT / "gateway" / "__init__.py").read_bytes() == b""


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_sizes(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES_MAX, "a file past 600 lines is two files"
    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not too_long


MODULES = [path for path in SOURCES if path.parts[0] in PACKAGES and path.stem != "__init__"]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_file_opens_with_its_theory(path: Path) -> None:
    theory = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    assert theory is not None
    assert len(theory) > 40
