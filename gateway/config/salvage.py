"""A file read whole: wrong values and contradictions between right ones, all told in one pass.

Contradictions are rules over a validated document, and a document with a wrong value in it is not one.  So what is
right in it is kept: :func:`salvage` makes a document in which every value that is right by itself stands where it
belongs, and in which reading any other raises WrongValue.  A rule that needs such a value says nothing, because what
is wrong there is told already; every other rule speaks.  Where a key is misspelt, the one that was meant is in doubt.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, PlainValidator, TypeAdapter, ValidationError

from gateway.config.problems import CLOSE_ENOUGH, ConfigError, Model, Problem, WrongValue, problems_of, table_of

Conflict = tuple[str, str, str]
"""Key, value and what was expected."""

T = TypeVar("T")
V = TypeVar("V")


def read_checked(
    model: type[Model],
    document: dict[str, Any],
    file: str,
    base: Path,
    conflicts: Callable[[Model], Iterator[Conflict]],
) -> Model:
    """``document`` as ``model``; paths and ``file:`` secrets are taken relative to ``base``.

    Raises ConfigError with a problem for each wrong key, and for each contradiction that ``conflicts`` finds.
    """
    problems: list[Problem] = []
    try:
        found = model.model_validate(document, context={"base": base})
    except ValidationError as error:
        problems = problems_of(error.errors(), model, file)
        found = salvage(model, document, base)
    known = {problem.key for problem in problems}
    problems += [Problem(file, *conflict) for conflict in conflicts(found) if conflict[0] not in known]
    if problems:
        raise ConfigError(problems)
    return found


def told(*rules: Iterable[Conflict]) -> Iterator[Conflict]:
    """What the rules find; one that needs a wrong value ends there."""
    for rule in rules:
        with suppress(WrongValue):
            yield from rule


def readable(items: Iterable[T], read: Callable[[T], V]) -> Iterator[tuple[int, V]]:
    """What is read of each item with its place, passing over those of which it is wrong."""
    for place, item in enumerate(items):
        with suppress(WrongValue):
            yield place, read(item)


class Wrong:
    """Stands in a list for an entry that is wrong: equal to nothing, and nothing can be read of it."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        raise WrongValue(name)


def salvage(model: type[Model], table: Mapping[str, Any], base: Path) -> Model:
    """What is right in ``table``, defaults included; reading anything else of it raises WrongValue."""
    keys = {field.alias or name: name for name, field in model.model_fields.items()}
    found: dict[str, Any] = {}
    wrong = {keys[meant] for key in table if key not in keys for meant in _meant(key, set(keys) - set(table))}
    for key, name in keys.items():
        if key in table:
            try:
                found[key] = _value(model, name, table[key], base)
            except (ValidationError, WrongValue):
                wrong.add(name)
    partial = model.model_construct(**found)
    for name in wrong:
        vars(partial).pop(name, None)
    return partial


def _meant(key: str, absent: set[str]) -> list[str]:
    """The key that a misspelt one probably is."""
    return get_close_matches(key, absent, n=1, cutoff=CLOSE_ENOUGH)


def _value(model: type[BaseModel], name: str, value: Any, base: Path) -> Any:
    """One value, of a list those entries that are right.  Raises ValidationError or WrongValue."""
    annotation = model.model_fields[name].annotation
    table = table_of(annotation)
    if table is None:
        return _plain(model, name, value, base)
    if "tuple" not in str(annotation):
        return salvage(table, _of(dict, value), base)
    return tuple(salvage(table, each, base) if isinstance(each, dict) else Wrong() for each in _of(list, value))


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise WrongValue
    return value


def _plain(model: type[BaseModel], name: str, value: Any, base: Path) -> Any:
    context = {"base": base}
    try:
        return _adapter(model, name).validate_python(value, context=context)
    except ValidationError:
        entries = _entries(model, name)
        if entries is None or not isinstance(value, list):
            raise
        return tuple(_entry(entries, each, context) for each in value)


def _entry(entries: TypeAdapter[Any], value: Any, context: dict[str, Path]) -> Any:
    try:
        return entries.validate_python(value, context=context)
    except ValidationError:
        return Wrong()


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """What validates one field by itself."""
    field = model.model_fields[name]
    hint: Any = field.annotation
    for mark in field.metadata:
        hint = Annotated[hint, mark]
    return TypeAdapter(hint)


@cache
def _entries(model: type[BaseModel], name: str) -> TypeAdapter[Any] | None:
    """What validates one entry of a field that is a list; None where it is none, or is written in another way."""
    field = model.model_fields[name]
    if "tuple" not in str(field.annotation) or any(isinstance(mark, PlainValidator) for mark in field.metadata):
        return None
    return TypeAdapter(get_args(field.annotation)[0])
