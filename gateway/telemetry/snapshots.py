"""Metrics over all processes of a gate: each writes what it counted to a file, one reader folds the files together.

A process writes ``PID.START.json`` into the metrics folder twice a second, whole and by rename, so that a reader never
sees half of one.  Counters and histograms of all files are summed, also those of the dead: when the supervisor has seen
a process die it calls :func:`mark_dead`, which adds the counters to ``retired.json`` and removes the file, gauges with
it.  ``retired.json`` names the files it has taken in, so a crash between the two steps counts nothing twice.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.telemetry.metrics import BUILD_INFO, METRICS, PREFIX, Fold, Labels, Meter, Metric

WRITE_INTERVAL_S: Final = 0.5
"""Gauges are at most 1 s old (CONTRACT 8): two writes within it."""
GAUGE_AGE_MAX_S: Final = 5.0
"""A process that has not written for ten intervals hangs; its gauges say nothing about now and are left out."""
RETIRED: Final = "retired.json"

Row = list[Any]
"""Label values, then a value; of a histogram the bucket counts and the sum."""
Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily


class SnapshotFile:
    """One process' file in the metrics folder; call :meth:`write` every WRITE_INTERVAL_S.

    A process that must not wait for the disk takes the :meth:`document` on its loop and lets a thread :meth:`put` it.
    """

    def __init__(self, folder: Path, meter: Meter) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._meter = meter
        self._path = folder / f"{os.getpid()}.{time.time_ns()}.json"
        self._next = self._path.with_suffix(".new")

    def write(self) -> None:
        """Write what was counted so far.  Raises OSError where the folder cannot be written."""
        self.put(self.document())

    def document(self) -> str:
        """What was counted so far, as the file's text."""
        return json.dumps(_document(self._meter), separators=(",", ":"))

    def put(self, document: str) -> None:
        """Make ``document`` the file.  Raises OSError where the folder cannot be written."""
        self._next.write_text(document, encoding="utf-8")
        self._next.replace(self._path)

    def remove(self) -> None:
        """Hand over at an orderly end: counters to ``retired.json``, gauges gone."""
        _retire(self._path.parent, [self._path])


def _document(meter: Meter) -> dict[str, dict[str, list[Row]]]:
    return {
        "counters": {name: [[*k, v] for k, v in each.values.items()] for name, each in meter.counters.items()},
        "gauges": {name: [[*k, v] for k, v in each.values.items()] for name, each in meter.gauges.items()},
        "histograms": {
            name: [[*k, each.counts, each.sum_s] for k, each in histogram.values.items()]
            for name, histogram in meter.histograms.items()
        },
    }


def clear(folder: Path) -> None:
    """Forget every process of an earlier run; the supervisor calls it before it starts any."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("*.json"), *folder.glob("*.new")):
        path.unlink(missing_ok=True)


def mark_dead(folder: Path, pid: int) -> None:
    """A process of this gate has ended: keep what it counted, drop its gauges.  May be called again."""
    _retire(folder, sorted(folder.glob(f"{pid}.*.json")))
    for path in folder.glob(f"{pid}.*.new"):
        path.unlink(missing_ok=True)


def _retire(folder: Path, paths: list[Path]) -> None:
    totals = Totals()
    taken = set(totals.add_retired(folder / RETIRED))
    for path in paths:
        if path.name not in taken and (document := _read(path)) is not None:
            totals.add(document, gauges=False)
            taken.add(path.name)
    if paths:
        following = folder / (RETIRED + ".new")
        following.write_text(json.dumps(totals.retired(taken)), encoding="utf-8")
        following.replace(folder / RETIRED)
    for path in paths:
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """A snapshot; None where it has just been removed or is no snapshot."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@dataclass(slots=True)
class Totals:
    """Values of all processes, folded."""

    counters: dict[str, dict[Labels, float]] = field(default_factory=dict)
    gauges: dict[str, dict[Labels, float]] = field(default_factory=dict)
    histograms: dict[str, dict[Labels, tuple[list[int], float]]] = field(default_factory=dict)

    def add(self, document: dict[str, Any], *, gauges: bool) -> None:
        """Fold one process' snapshot in."""
        for name, rows in document.get("counters", {}).items():
            series = self.counters.setdefault(name, {})
            for *labels, value in rows:
                series[tuple(labels)] = series.get(tuple(labels), 0) + value
        for name, rows in document.get("histograms", {}).items():
            for *labels, counts, sum_s in rows:
                self._add_distribution(name, tuple(labels), counts, sum_s)
        if gauges:
            for name, rows in document.get("gauges", {}).items():
                for *labels, value in rows:
                    self._add_gauge(name, tuple(labels), value)

    def add_retired(self, path: Path) -> list[str]:
        """Fold in what the dead have left; returns the names of their files."""
        document = _read(path) or {}
        self.add(document, gauges=False)
        return list(document.get("taken", []))

    def retired(self, taken: Iterable[str]) -> dict[str, Any]:
        """The document that ``add_retired`` reads back."""
        return {
            "taken": sorted(taken),
            "counters": {name: [[*k, v] for k, v in rows.items()] for name, rows in self.counters.items()},
            "histograms": {name: [[*k, *v] for k, v in rows.items()] for name, rows in self.histograms.items()},
        }

    def _add_gauge(self, name: str, labels: Labels, value: float) -> None:
        series = self.gauges.setdefault(name, {})
        fold: Fold = METRICS[name].fold if name in METRICS else "sum"
        if labels not in series:
            series[labels] = value
        else:
            series[labels] = min(series[labels], value) if fold == "min" else series[labels] + value

    def _add_distribution(self, name: str, labels: Labels, counts: list[int], sum_s: float) -> None:
        series = self.histograms.setdefault(name, {})
        before, before_s = series.get(labels, ([0] * len(counts), 0.0))
        series[labels] = ([a + b for a, b in zip(before, counts, strict=False)], before_s + sum_s)


def fold(folder: Path) -> Totals:
    """What all processes have counted, the dead included, and the gauges of the living."""
    totals = Totals()
    taken = set(totals.add_retired(folder / RETIRED))
    now = time.time()
    for path in sorted(folder.glob("*.*.json")):
        try:
            age_s = now - path.stat().st_mtime
        except OSError:
            continue
        if path.name not in taken and (document := _read(path)) is not None:
            totals.add(document, gauges=age_s <= GAUGE_AGE_MAX_S)
    return totals


class GateCollector(Collector):
    """Every declared metric over all processes of the folder: HELP and TYPE always, samples where there are any."""

    def __init__(self, folder: Path, version: str) -> None:
        self._folder = folder
        self._version = version

    def collect(self) -> Iterator[Family]:
        """The families of one scrape."""
        totals = fold(self._folder)
        totals.gauges[BUILD_INFO.name] = {(self._version,): 1}
        for metric in METRICS.values():
            yield _family(metric, totals)


def _family(metric: Metric, totals: Totals) -> Family:
    name = PREFIX + metric.name
    if metric.kind == "histogram":
        return _histogram(name, metric, totals.histograms.get(metric.name, {}))
    rows = (totals.counters if metric.kind == "counter" else totals.gauges).get(metric.name, {})
    bare = () in rows and bool(metric.labels)  # a tenant label that is switched off
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: GaugeMetricFamily | CounterMetricFamily = kind(name, metric.help, labels=() if bare else metric.labels)
    for labels, value in sorted(rows.items()):
        family.add_metric(labels, value)
    return family


def _histogram(name: str, metric: Metric, rows: dict[Labels, tuple[list[int], float]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    bounds = [_bound_text(bound) for bound in (*metric.buckets, math.inf)]
    for labels, (counts, sum_s) in sorted(rows.items()):
        running = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for bound, count in zip(bounds, counts, strict=False):
            running += count
            buckets.append((bound, running))
        family.add_metric(labels, buckets, sum_s)
    return family


def _bound_text(bound: float) -> str:
    """A bucket's bound as prometheus_client itself writes it, canonical for OpenMetrics too."""
    return "+Inf" if math.isinf(bound) else str(float(bound))


def scrape(folder: Path, version: str, accept: str = "") -> tuple[bytes, str]:
    """One scrape of the whole gate and its content type: OpenMetrics where ``accept`` asks for it, else plain text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GateCollector(folder, version))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type
