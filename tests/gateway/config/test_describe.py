"""Every key can be described: name, default and meaning, for documentation that cannot lag behind."""

import ast
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.config import settings
from gateway.config.describe import keys
from gateway.config.problems import table_of
from gateway.config.provisioning import Provisioning
from gateway.config.settings import Settings

ROOT = Path(settings.__file__).parents[2]
ROOMS = [path for package in ("gateway", "policy") for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("model", [Settings, Provisioning])
def test_every_key_has_a_meaning(model: type[BaseModel]) -> None:
    found = list(keys(model))
    assert len({key.name for key in found}) == len(found) > 20
    assert [key.name for key in found if not key.description] == []


def test_described_defaults_are_the_defaults() -> None:
    """The defaults as they are described, written into a file, mean what no file means.

    But of tables that must be given whole or not at all.
    """
    tables: dict[str, list[str]] = {}
    whole = {key.name.rpartition(".")[0] for key in keys(Settings) if key.required}
    for key in keys(Settings):
        table, _, name = key.name.rpartition(".")
        if key.default and "[]" not in table and table not in whole:
            tables.setdefault(table, []).append(f"{name} = {key.default}")
    text = "\n".join(f"[{table}]\n" + "\n".join(lines) for table, lines in tables.items())
    assert settings.parse(tomllib.loads(text), "", Path("/x")) == settings.parse({}, "", Path("/x"))


def test_keys_of_lists_are_marked() -> None:
    names = [key.name for key in keys(Settings)]
    assert "trunk[].hosts" in names
    assert "trunk[].digest.password" in names
    assert "credit.failure_ceiling" in names


def fields(model: type[BaseModel]) -> set[str]:
    tables = {name: table_of(field.annotation) for name, field in model.model_fields.items()}
    return {f"{name}.{each}" for name, table in tables.items() if table for each in table.model_fields}


def attributes_read(path: Path) -> set[str]:
    """Names that are read as attributes, method calls apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in called}


def test_every_key_is_obeyed_by_some_room() -> None:
    """A key that no room reads would be a promise that nobody keeps."""
    read = set().union(*(attributes_read(path) for path in ROOMS if path.parent.name != "config"))
    unread = {name for name in fields(Settings) if name.partition(".")[2] not in read}
    assert unread == set()
