"""One self-contained HTML page about a run: its figures as tables, its course and its delays as plots.

The page needs nothing but itself: no script, no style sheet, no font and no picture from anywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from loadtest.histogram import Histogram
from loadtest.plot import Line, by_percentile, over_time
from loadtest.series import Series

_SHARES: Final = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999]

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2733;--faint:#7a8794;--rule:#dfe5ea;--page:#fff;
--series-0:#1668b8;--series-1:#c2571a;--series-2:#2c8a4b;--series-3:#8a3fa8;--series-4:#a8323f}
@media(prefers-color-scheme:dark){:root{--ink:#dde5ec;--faint:#8c99a6;--rule:#2b3640;--page:#12181e;
--series-0:#63aef2;--series-1:#f0965a;--series-2:#6fce8f;--series-3:#c98ae4;--series-4:#ef7d89}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:960px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .5rem;border-bottom:1px solid var(--rule);
text-align:right;font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}th{font-weight:600}
.verdict{font-weight:600}.good{color:var(--series-2)}.bad{color:var(--series-4)}
figure{margin:1.5rem 0}figcaption{font-weight:600}small{font-weight:400;color:var(--faint)}
svg{width:100%;height:auto}svg text{fill:var(--faint);font-size:11px}
.grid{stroke:var(--rule)}.line{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.legend{margin:0;font-size:.85rem}.legend span{margin-right:1rem}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;border-radius:2px}
"""

COUNTS: Final = (
    ("offered", "calls offered"),
    ("offered_cps", "offered, calls/s"),
    ("carried_cps", "carried, calls/s"),
    ("answered", "answered"),
    ("refused", "refused by the gate"),
    ("unanswered", "busy, no answer or cancelled as planned"),
    ("failed", "failed"),
    ("cut", "cut by the gate"),
    ("talk_s", "talk, seconds"),
    ("held_back", "held back by --concurrent"),
    ("retransmissions", "retransmissions sent"),
    ("repeats_heard", "retransmissions heard"),
    ("malformed", "malformed messages heard"),
)
"""The figures that are one number each, and what they are called for people."""

KINDS: Final = (
    ("refused_by", "refused"),
    ("unanswered_by", "unanswered, status"),
    ("cut_by", "cut, cause"),
    ("failed_by", "failed"),
)
"""The figures that are counts by kind."""

DELAYS: Final = (
    ("setup_delay_ms", "set-up delay added"),
    ("post_dial_delay_ms", "post-dial delay"),
    ("cut_error_ms", "cut error"),
    ("held_back_ms", "hold-back by --concurrent"),
    ("lateness_ms", "lateness of this tester"),
)
"""The figures that are percentiles, in milliseconds."""

PERCENTILES: Final = ("count", "min", "p50", "p90", "p99", "max")


def page(
    title: str,
    figures: Mapping[str, Any],
    plan: Mapping[str, str],
    series: Series,
    setup: Histogram,
    cut_error: Histogram,
) -> str:
    """The whole page; ``plan`` is what the run was asked to do, ``verdict`` stands in the figures as ``faults``."""
    body = [
        f"<h1>{escape(title)}</h1>",
        _verdict(figures["faults"]),
        "<h2>Figures</h2>",
        _table(("figure", "value"), ((text, figures[key]) for key, text in COUNTS)),
        _kinds(figures),
        "<h2>Delays</h2><p><small>milliseconds, measured from the moment the call could have started</small></p>",
        _table(("delay", *PERCENTILES), ((text, *_percentiles(figures[key])) for key, text in DELAYS)),
        "<h2>Course</h2>",
        *_course(series),
        by_percentile("Set-up delay added, by percentile", "ms", [_curve("set-up", setup)]),
        by_percentile("Cut error, by percentile", "ms", [_curve("cut error", cut_error)]),
        _audit(figures.get("audit")),
        "<h2>What was asked</h2>",
        _table(("option", "value"), plan.items()),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(body)}</body></html>'
    )


def _verdict(faults: Sequence[str]) -> str:
    if not faults:
        return '<p class="verdict good">Everything asked for holds.</p>'
    return "".join(f'<p class="verdict bad">{escape(fault)}</p>' for fault in faults)


def _kinds(figures: Mapping[str, Any]) -> str:
    rows = [(f"{text} {kind}", count) for key, text in KINDS for kind, count in figures[key].items()]
    return _table(("by kind", "calls"), rows) if rows else ""


def _percentiles(summary: Mapping[str, Any]) -> list[str]:
    return [_cell(summary[key]) for key in PERCENTILES]


def _course(series: Series) -> list[str]:
    times = [place * series.width_s for place in range(len(series.slices))]
    pairs = list(zip(times, series.slices, strict=True))
    width_s = series.width_s

    def rate(name: str, key: str) -> Line:
        return Line(name, [(at, getattr(moment, key) / width_s) for at, moment in pairs])

    def percentile(name: str, key: str, share: float) -> Line:
        found = [(at, getattr(moment, key).percentile_ms(share)) for at, moment in pairs]
        return Line(name, [(at, value) for at, value in found if value is not None])

    rates = [rate(name, name) for name in ("offered", "answered", "refused", "failed", "cut")]
    live = Line("live", [(at, float(moment.live)) for at, moment in pairs])
    setup = [percentile(name, "setup", share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))]
    cuts = [percentile(name, "cut_error", share) for name, share in (("p50", 0.5), ("p99", 0.99))]
    return [
        over_time("Calls", "calls/s by intended arrival", rates),
        over_time("Live calls", "highest in each slice", [live]),
        over_time("Set-up delay added", "ms", setup),
        over_time("Cut error", "ms", cuts),
    ]


def _curve(name: str, histogram: Histogram) -> Line:
    shares = [share for share in _SHARES if histogram.total * (1 - share) >= 1 or share <= 0.5]
    return Line(name, list(zip(shares, histogram.percentiles_ms(shares), strict=False)))


def _audit(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return ""
    keys = ("tenant", "currency", "money_in", "booked", "in_outbox", "balance", "held", "difference", "charges")
    rows = ([tenant[key] for key in keys] for tenant in audit["tenants"])
    return "<h2>Audit</h2>" + _table(tuple(key.replace("_", " ") for key in keys), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return escape(
        f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
