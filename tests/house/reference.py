"""The reference tables of the documentation, made from the code: ``python tests/house/reference.py --write``.

A page marks where a table stands by two comments, ``<!-- reference NAME -->`` and ``<!-- end -->``.  What is between
them belongs to this file; all else on the page is written by hand.  Without ``--write`` nothing is changed and the
pages that are stale are named; tests/house/test_reference.py does the same.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

from gateway.call.headers import CROSSING, END_TO_END_OPTIONS, Crossing
from gateway.call.states import drawing
from gateway.cli.app import app
from gateway.config.describe import Key, keys
from gateway.config.problems import table_of
from gateway.config.provisioning import Provisioning
from gateway.config.settings import Settings
from gateway.settlement import usage_columns
from gateway.settlement.notify_events import EVENTS, Event
from gateway.sip import transaction
from gateway.sip.reasons import SIP_REASONS, q850_of
from gateway.telemetry.metrics import METRICS, PREFIX, Metric
from loadtest import cli as load_cli
from loadtest.bench.__main__ import bench
from policy import inbound, outbound
from policy.case import CaseRule
from policy.reasons import REASONS
from policy.recharge import table_rows

ROOT: Final = Path(__file__).resolve().parents[2]
MARKED: Final = re.compile(r"(<!-- reference ([\w-]+) -->\n).*?(<!-- end -->)", re.S)

SHARED: Final = ("`--config`", "`--json`")
"""Options that (nearly) every command of ``callgate`` has: explained once, by hand."""

HEARD: Final = ("crossings.py", "low_credit.py", "notify_text.py")
"""Files that hear reasons which others give."""

Row = tuple[str, ...]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; bars in cells are escaped, line ends become spaces."""
    cells = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in cells)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """The text as Markdown code, or nothing where there is none."""
    return f"`{text}`" if text else ""


# settings and provisioning


def fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key's field by the dotted name that gateway.config.describe gives it."""
    for attribute, field in model.model_fields.items():
        name = above + (field.alias or attribute)
        inner = table_of(field.annotation)
        if inner is None:
            yield name, field
        else:
            yield from fields(inner, f"{name}{'[]' if 'tuple' in str(field.annotation) else ''}.")


def takes(field: FieldInfo) -> str:
    """What a key takes, where its type says it: the words of a choice, true or false, the bounds of a number."""
    words = _words(field.annotation)
    if words:
        return " · ".join(code(str(word)) for word in words)
    if "bool" in str(field.annotation):
        return "`true` · `false`"
    named = ("ge", "gt", "le")
    bounds = {name: getattr(each, name) for each in field.metadata for name in named if hasattr(each, name)}
    least = f"≥ {bounds['ge']:,}" if "ge" in bounds else f"> {bounds['gt']:,}" if "gt" in bounds else ""
    most = f"≤ {bounds['le']:,}" if "le" in bounds else ""
    return ", ".join(part for part in (least, most) if part)


def _words(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return tuple(word for part in get_args(annotation) for word in _words(part))
    return ()


def key_table(model: type[BaseModel]) -> str:
    """Every key of a TOML file with what it takes, its default and its meaning."""
    known = dict(fields(model))
    rows = ((code(key.name), takes(known[key.name]), _default(key), key.description) for key in keys(model))
    return table(("key", "takes", "default", "meaning"), rows)


def _default(key: Key) -> str:
    return "required" if key.required else code(key.default)


# metrics, reasons, rules


def metric_table() -> str:
    """Every metric as a scrape shows it."""
    rows = ((code(_scraped(metric)), metric.kind, metric.fold, metric.help) for metric in METRICS.values())
    return table(("metric", "kind", "processes", "help"), rows)


def _scraped(metric: Metric) -> str:
    labels = "{" + ",".join(metric.labels) + "}" if metric.labels else ""
    return f"{PREFIX}{metric.name}{'_total' if metric.kind == 'counter' else ''}{labels}"


def reason_table() -> str:
    """Every reason with what peers see of it, and which rooms give it."""
    given = _rooms_by_reason()
    rows = (
        (code(each.code), str(each.sip_status), str(each.q850), each.text, ", ".join(given[each.code]) or "none yet")
        for each in REASONS.values()
    )
    return table(("code", "SIP", "Q.850", "text", "given by"), rows)


def sip_reason_table() -> str:
    """Every reason for which SIP refuses a request by itself."""
    rows = ((code(each.code), str(each.status), str(q850_of(each.status)), each.text) for each in SIP_REASONS.values())
    return table(("code", "SIP", "Q.850", "text"), rows)


def _rooms_by_reason() -> dict[str, list[str]]:
    """Rooms whose sources name a reason's code as a text."""
    found: dict[str, set[str]] = {name: set() for name in REASONS}
    for path in sorted([*(ROOT / "gateway").rglob("*"), *(ROOT / "policy").rglob("*.py")]):
        if path.suffix not in {".py", ".lua"} or path.name in ("reasons.py", *HEARD):
            continue
        for name in set(re.findall(r"""["']([A-Z_]+)["']""", path.read_text(encoding="utf-8"))) & set(found):
            place = path.relative_to(ROOT).parts
            found[name].add(place[0] if place[0] == "policy" else f"{place[0]}.{place[1]}")
    return {name: sorted(rooms) for name, rooms in found.items()}


def rule_table() -> str:
    """The rules of both directions in the order in which they are tried."""

    def rows(direction: str, rules: tuple[CaseRule, ...]) -> Iterator[Row]:
        for place, rule in enumerate(rules, 1):
            yield direction, str(place), code(rule.name), (rule.check.__doc__ or "").strip()

    return table(
        ("trunk", "", "rule", "what it checks"),
        [*rows("access", outbound.RULES), *rows("carrier", inbound.RULES)],
    )


def event_table() -> str:
    """Every event that tenants are told of."""
    rows = ((code(each.name), each.when, _told(each), each.again) for each in EVENTS.values())
    return table(("event", "when", "who is told", "told again after"), rows)


def _told(event: Event) -> str:
    if event.webhooks_only:
        return "webhooks"
    return "all" if event.by_source else "all (ours)"


# commands


def command_text(program: typer.Typer, name: str) -> str:
    """Every command of a program: usage, what it does, arguments and options."""
    return "\n\n".join(_command(function, words) for words, function in _commands(program, name))


def _commands(program: typer.Typer, above: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for each in program.registered_commands:
        assert each.callback is not None
        yield f"{above} {each.name or each.callback.__name__.replace('_', '-')}", inspect.unwrap(each.callback)
    for group in program.registered_groups:
        assert group.typer_instance is not None
        words, itself = f"{above} {group.name}", group.typer_instance.registered_callback
        if itself is not None and itself.callback is not None:  # a command by itself that has others below it
            yield words, itself.callback
        yield from _commands(group.typer_instance, words)


def _command(function: Callable[..., Any], words: str) -> str:
    hints = get_type_hints(function, include_extras=True)
    every = inspect.signature(function).parameters.values()
    given = [each for each in every if hints[each.name] is not typer.Context]
    rows = [_parameter(each.name, hints[each.name], each.default) for each in given]
    usage = " ".join([words, *(name.strip("`") for name, *_ in rows if not name.startswith("`-"))])
    told = "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n"))
    shared = [row[0] for row in rows if row[0].startswith(SHARED)]
    own = [row for row in rows if row[0] not in shared]
    parts = [f"### `{usage}`", told]
    if own:
        parts.append(table(("", "takes", "default", "meaning"), own))
    if shared:
        parts.append(f"{'And' if own else 'Takes'} {', '.join(shared)}.")
    return "\n\n".join(parts)


def _parameter(name: str, hint: Any, default: Any) -> Row:
    kind, info = get_args(hint)[:2]
    kind = next(each for each in get_args(kind) or (kind,) if each is not type(None))
    names = [info.metavar or name.upper()] if isinstance(info, ArgumentInfo) else _options(name, info)
    shown = info.show_default if isinstance(info.show_default, str) else default
    if default is inspect.Parameter.empty:
        preset = "required"
    else:
        preset = "" if shown is None or shown == "" or kind is bool else code(str(shown))
    variable = f" Or ${info.envvar}." if info.envvar else ""
    return ", ".join(code(each) for each in names), _taken(kind, info), preset, f"{info.help}{variable}"


def _options(name: str, info: OptionInfo) -> list[str]:
    """The ways an option is spelled; typer keeps the first one where a default would stand."""
    first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
    return [*first, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"]


def _taken(kind: Any, info: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " · ".join(code(str(choice)) for choice in kind)
    if info.min is not None or info.max is not None:
        bounds = (f"≥ {info.min:,}" if info.min is not None else "", f"≤ {info.max:,}" if info.max is not None else "")
        return ", ".join(part for part in bounds if part)
    return code(info.metavar or "") if not isinstance(info, ArgumentInfo) else ""


def bench_program() -> typer.Typer:
    """The benchmark's one command."""
    program = typer.Typer()
    program.command()(bench)
    return program


# machines


def crossing_table() -> str:
    """What becomes of each header between the legs."""
    told = {
        Crossing.NEVER: "never",
        Crossing.OPTIONS: f"its option tags {', '.join(sorted(END_TO_END_OPTIONS))}",
        Crossing.METHODS: "its methods that the gate carries",
    }
    return table(("header", "crosses"), ((code(name), told[rule]) for name, rule in CROSSING.items()))


def machine(name: str) -> str:
    """One transaction machine: what each event does in each state."""
    rows = (
        (state, event, cell[0], ", ".join(code(action.__name__) for action in cell[1]))
        for state, events in getattr(transaction, name).items()
        for event, cell in events.items()
    )
    return table(("state", "event", "next state", "actions"), rows)


def recharge_table() -> str:
    """What each happening does to the recharge of an account."""
    rows = ((state, happening, code(action), following) for state, happening, action, following in table_rows())
    return table(("state", "what happens", "action", "next state"), rows)


def usage_column_table() -> str:
    """The columns of the usage report in their order."""
    rows = ((str(place), each.name, each.description) for place, each in enumerate(usage_columns()))
    return table(("n", "name", "what it is"), rows)


BLOCKS: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "gateway/README.md": {"recharge-states": recharge_table},
    "gateway/call/README.md": {
        "states": lambda: f"```mermaid\n{drawing()}\n```",
        "crossing": crossing_table,
    },
    "gateway/sip/README.md": {
        "invite-client": lambda: machine("INVITE_CLIENT"),
        "non-invite-client": lambda: machine("NON_INVITE_CLIENT"),
        "invite-server": lambda: machine("INVITE_SERVER"),
        "non-invite-server": lambda: machine("NON_INVITE_SERVER"),
        "sip-reasons": sip_reason_table,
    },
    "gateway/config/README.md": {
        "settings": lambda: key_table(Settings),
        "provisioning": lambda: key_table(Provisioning),
    },
    "gateway/settlement/README.md": {"events": event_table},
    "gateway/settlement/reports/README.md": {"usage-columns": usage_column_table},
    "gateway/telemetry/README.md": {"metrics": metric_table},
    "gateway/cli/README.md": {"commands": lambda: command_text(app, "callgate")},
    "policy/README.md": {"reasons": reason_table, "rules": rule_table},
    "loadtest/README.md": {
        "callgate-load": lambda: command_text(load_cli.app, "callgate-load"),
        "bench": lambda: command_text(bench_program(), "python -m").replace("-m bench", "-m loadtest.bench"),
    },
}
"""Every page with generated parts, and what makes each part."""


def filled(page: str, text: str) -> str:
    """A page's text with its generated parts made anew; raises KeyError for a part that nothing makes."""
    parts = BLOCKS[page]
    return MARKED.sub(lambda found: f"{found[1]}\n{parts[found[2]]()}\n\n{found[3]}", text)


def parts_of(text: str) -> list[str]:
    """The generated parts that a page has, in its order."""
    return [found[2] for found in MARKED.finditer(text)]


def main(write: bool) -> int:
    """Name, or with ``write`` renew, the pages that are stale; the exit status."""
    stale = 0
    for page in BLOCKS:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        fresh = filled(page, text)
        if fresh != text:
            stale += 1
            print(f"{page}: {'written' if write else 'stale'}")
            if write:
                path.write_text(fresh, encoding="utf-8")
    return 0 if write else min(stale, 1)


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
