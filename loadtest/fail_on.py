"""``--fail-on``: an expression over the figures that makes a run fail where it is true.

``failed > 0 or setup_delay_ms.p99 > 3``: names are the keys of the JSON figures, joined by dots; there are numbers,
``+ - * /``, comparisons, ``and``, ``or``, ``not`` and brackets, nothing else.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_LENGTH: Final = 500
"""Characters of an expression; deeper ones than this allows could not be read by their author either."""

_ARITHMETIC: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_BY_KIND: Final = ("refused_by", "unanswered_by", "failed_by", "cut_by", "status_by")
"""Figures whose keys are only known afterwards: a key that did not occur counts 0."""


class FailOnError(ValueError):
    """An expression that cannot be read, or names a figure that there is not; the message says which."""


class NotMeasuredError(ValueError):
    """The expression needs a figure of which nothing was measured in this run."""


def parse(text: str) -> ast.expr:
    """Read an expression; raises :class:`FailOnError`."""
    if len(text) > MAX_LENGTH:
        raise FailOnError(f"--fail-on is longer than {MAX_LENGTH} characters")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise FailOnError(f"--fail-on {text!r}: {error.msg}; expected for example 'failed > 0'") from None


def check(expression: ast.expr, figures: Mapping[str, Any]) -> None:
    """Raise :class:`FailOnError` where the expression names a figure that ``figures`` does not have at all."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            _lookup(_path(node), figures)


def holds(expression: ast.expr, figures: Mapping[str, Any]) -> bool:
    """Whether ``expression`` is true of ``figures``, that is: whether the run has failed.

    Raises :class:`FailOnError` for what is not part of the language or not a figure, :class:`NotMeasuredError` where
    a figure is None.
    """
    return bool(_value(expression, figures))


def _value(node: ast.expr, figures: Mapping[str, Any]) -> float | bool:
    match node:
        case ast.BoolOp(op=ast.And()):
            return all(_value(part, figures) for part in node.values)
        case ast.BoolOp():
            return any(_value(part, figures) for part in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, figures)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, figures)
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            return _arithmetic(node, figures)
        case ast.Compare() if all(type(op) in _COMPARISONS for op in node.ops):
            return _compare(node, figures)
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return _figure(node, figures)
    raise FailOnError(f"--fail-on: {ast.unparse(node)!r} is not a number, figure, comparison, 'and', 'or' or 'not'")


def _arithmetic(node: ast.BinOp, figures: Mapping[str, Any]) -> float:
    left, right = _value(node.left, figures), _value(node.right, figures)
    try:
        return _ARITHMETIC[type(node.op)](left, right)
    except ZeroDivisionError:
        raise NotMeasuredError(f"{ast.unparse(node)} divides by zero") from None


def _compare(node: ast.Compare, figures: Mapping[str, Any]) -> bool:
    left = _value(node.left, figures)
    for comparison, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, figures)
        if not _COMPARISONS[type(comparison)](left, right):
            return False
        left = right
    return True


def _figure(node: ast.expr, figures: Mapping[str, Any]) -> float:
    path = _path(node)
    found = _lookup(path, figures)
    if found is None:
        raise NotMeasuredError(f"nothing was measured for {'.'.join(path)}")
    if not isinstance(found, int | float):
        raise FailOnError(f"--fail-on: {'.'.join(path)!r} is not a number; --json shows the figures")
    return found


def _lookup(path: list[str], figures: Mapping[str, Any]) -> Any:
    found: Any = figures
    for key in path:
        if not isinstance(found, Mapping) or (key not in found and path[0] not in _BY_KIND):
            raise FailOnError(f"--fail-on: there is no figure {'.'.join(path)!r}; --json shows them all")
        found = found.get(key, 0)
    return found


def _path(node: ast.expr) -> list[str]:
    match node:
        case ast.Name():
            return [node.id]
        case ast.Attribute():
            return [*_path(node.value), node.attr]
        case ast.Subscript(slice=ast.Constant(value=key)):
            return [*_path(node.value), str(key)]
    raise FailOnError(f"--fail-on: {ast.unparse(node)!r} does not name a figure")
