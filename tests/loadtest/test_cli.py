"""The command line: exit statuses, JSON alone on stdout, the report, and wrong use told in one line."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadtest.bench.processes import free_port
from loadtest.cli import app


def run(*options: str, calls: int = 3) -> Result:
    """A run of the tester against itself: its callers call its callees."""
    uas = f"127.0.0.1:{free_port()}"
    source = f"127.0.0.1:{free_port()}"
    words = ["run", "--target", f"sip:{uas}", "--uas", uas, "--source", source, "--calls", str(calls), "--cps", "100"]
    return CliRunner().invoke(app, [*words, "--hold", "0.02", *options])


def test_json_is_one_document_with_every_figure() -> None:
    done = run("--json", "--seed", "4")
    assert done.exit_code == 0
    figures = json.loads(done.stdout)
    assert figures["answered"] == 3
    assert figures["seed"] == 4
    for key in (
        "offered_cps",
        "carried_cps",
        "refused_by",
        "failed",
        "retransmissions",
        "setup_delay_ms",
        "cut_error_ms",
    ):
        assert key in figures
    assert set(figures["setup_delay_ms"]) == {"count", "min", "p50", "p90", "p99", "max"}
    assert figures["audit"] is None


def test_figures_for_people() -> None:
    done = run()
    assert done.exit_code == 0
    assert "carried, calls/s" in done.stdout
    assert "set-up delay added" in done.stdout


def test_fail_on_decides_the_exit_status() -> None:
    assert run("--fail-on", "failed > 0 or answered < 3").exit_code == 0
    failed = run("--fail-on", "answered < 4")
    assert failed.exit_code == 1
    assert "--fail-on: answered < 4" in failed.stdout


def test_an_audit_that_cannot_be_made_fails_the_run() -> None:
    done = run("--admin", "http://127.0.0.1:1", "--token", "x", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["faults"][0].startswith("no audit: ")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--hold", "soon"], "expected SECONDS"),
        (["--target", "127.0.0.1:5060"], "expected sip:HOST:PORT"),
        (["--target", "sip:127.0.0.1:5060;transport=tcp"], "UDP"),
        (["--uas", "somewhere"], "expected HOST:PORT"),
        (["--behaviour", "rude"], "unknown"),
        (["--increments", "0/1"], "whole seconds"),
        (["--header", "no colon"], "Name: value"),
        (["--numbers", "/nowhere"], "No such file"),
        (["--fail-on", "faild > 0"], "no figure"),
        (["--cps", "0"], "cps"),
        (["--arrivals", "never"], "arrivals"),
    ],
)
def test_wrong_use_is_told_and_exits_2(options: list[str], fault: str) -> None:
    done = run(*options)
    assert done.exit_code == 2
    assert fault in " ".join(done.stderr.replace("│", " ").split())


def test_a_taken_address_exits_1_with_one_line() -> None:
    port = free_port()
    done = run("--source", f"127.0.0.1:{port}", "--uas", f"127.0.0.1:{port}")
    assert done.exit_code == 1
    assert done.stderr.strip().startswith("callgate-load: cannot play a telephone on")


def test_numbers_callers_and_headers_are_used(tmp_path: Path) -> None:
    numbers, callers = tmp_path / "numbers", tmp_path / "callers"
    numbers.write_text("+1212555xxxx\n")
    callers.write_text("+14255550101\n+14255550102\n")
    done = run("--numbers", str(numbers), "--callers", str(callers), "--header", "X-Callgate-User: alice", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["failed"] == 0


class Page(HTMLParser):
    """Reads a page and remembers what it would load and draw."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.plots = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += tag == "svg"
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_self_contained_page(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert run("--html", str(report), calls=20).exit_code == 0
    text = report.read_text()
    page = Page()
    page.feed(text)
    assert page.outside == []
    assert page.open == []
    assert page.plots == 4
    assert "url(" not in text
    assert "Everything asked for holds." in text


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = run("--html", str(tmp_path))
    assert done.exit_code == 1
    assert "Is a directory" in done.stderr
