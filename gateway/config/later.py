"""Keys that this release reads and checks and does not obey yet: the one list, and what is said of a file with them.

A key that is taken without a word looks obeyed, and somebody who limits what a user may spend wants to know that nobody
does.  So ``provision``, ``check`` and the start of ``serve`` say one notice for each key of :data:`LATER` that a file
gives and that matters in it, and the reference in README.md is made from the same list.  When a feature is built, its
line here goes, and with it everything that is said.

What a key says already today is no news: a value that switches off what nobody does anyway.  Such values stand in
``fine``; where none are named it is the key's default.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config.problems import toml_text
from rating.money import format_cents

Value = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Later:
    """One key as gateway.config.describe names it, or a whole table; ``meanwhile`` is what happens until it is obeyed.

    ``fine`` are values that need no notice, of a list: entries that need none; None: the default needs none.  ``also``
    are keys of the same table that mean nothing without this one and are covered by its notice.
    """

    key: str
    meanwhile: str
    fine: tuple[Value, ...] | None = None
    also: tuple[str, ...] = ()


LATER: Final[tuple[Later, ...]] = ()
"""In the order of the files' references."""


def notices(document: BaseModel, file: str) -> list[str]:
    """What ``document`` says and nobody obeys yet: one line a key, with its first place, ``file`` in front."""
    return [notice for later in LATER if (notice := _notice(later, document, file))]


def covered(later: Later) -> tuple[str, ...]:
    """Every key that the line is about, dotted."""
    above = later.key.rpartition(".")[0]
    return (later.key, *(f"{above}.{name}" for name in later.also))


def _notice(later: Later, document: BaseModel, file: str) -> str:
    """One key's line; empty where the file does not give it, or says what holds anyway."""
    places = [
        (place, value, field)
        for place, value, field in _given(document, later.key.split("."))
        if not _is_fine(value, (field.default,) if later.fine is None else later.fine)
    ]
    if not places:
        return ""
    place, value, field = places[0]
    more = f" (and {len(places) - 1} more such keys)" if len(places) > 1 else ""
    text = _text(place, value, field)
    named = f"{place} = {text}" if text else place
    said = f"not obeyed yet, {later.meanwhile}{more}"
    return ": ".join(part for part in (file, named, said) if part)


def _given(table: BaseModel, path: Sequence[str], above: str = "") -> Iterator[tuple[str, Any, FieldInfo]]:
    """Where a file gives a key: the place with its indexes, the value, and the field."""
    name, rest = path[0].removesuffix("[]"), path[1:]
    attribute, field = next(
        ((each, field) for each, field in type(table).model_fields.items() if name == (field.alias or each)),
        ("", None),
    )
    if field is None or attribute not in table.model_fields_set:
        return
    place, value = above + name, getattr(table, attribute)
    if not rest:
        yield place, value, field
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from _given(each, rest, f"{place}[{index}].")
    elif value is not None:
        yield from _given(value, rest, f"{place}.")


def _is_fine(value: Any, fine: Sequence[Any]) -> bool:
    if isinstance(value, tuple):
        return all(each in fine for each in value)
    return value in fine


def _text(place: str, value: Any, field: FieldInfo) -> str:
    """The value in TOML; an amount as it is written, not in micro-units; empty for lists and tables."""
    if isinstance(value, int) and field.alias:  # only amounts have a field of another name than their key
        return f'"{format_cents(value)}"'
    return "" if isinstance(value, BaseModel) else toml_text(place, value)
