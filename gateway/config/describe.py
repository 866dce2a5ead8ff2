"""Every key of the TOML files with its default and meaning: what documentation and its test are made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config.problems import table_of
from rating.money import format_cents


@dataclass(frozen=True, slots=True)
class Key:
    """One key: ``name`` is dotted (``sip.max_call_s``, ``trunk[].hosts``), ``default`` its TOML text, empty: none."""

    name: str
    default: str
    description: str
    required: bool


def keys(model: type[BaseModel], above: str = "") -> Iterator[Key]:
    """Every key of ``model`` and the tables in it, in file order."""
    for attribute, field in model.model_fields.items():
        name = above + (field.alias or attribute)
        table = table_of(field.annotation)
        if table is None:
            yield Key(name, _default(field), field.description or "", field.is_required())
        else:
            yield from keys(table, f"{name}{'[]' if 'tuple' in str(field.annotation) else ''}.")


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default is None:
        return ""
    if field.alias:  # only amounts have a field of another name than their key
        return f'"{format_cents(field.default)}"'
    return _toml(field.default)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        ports = value and isinstance(value[0], int)
        return f'"{value[0]}-{value[-1]}"' if ports else f"[{', '.join(_toml(each) for each in value)}]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
