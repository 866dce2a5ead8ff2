"""``--fail-on``: numbers, figures and logic, and nothing that could do anything else."""

import pytest

from loadtest.fail_on import FailOnError, NotMeasuredError, check, holds, parse
from loadtest.figures import no_figures

FIGURES = {
    "failed": 2,
    "carried_cps": 99.5,
    "offered_cps": 100.0,
    "refused_by": {"NO_CREDIT": 53},
    "setup_delay_ms": {"p99": 2.5},
    "cut_error_ms": {"p99": None},
    "malformed_examples": [],
}


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("failed > 0", True),
        ("failed > 2", False),
        ("1 < failed <= 2", True),
        ("setup_delay_ms.p99 > 3 or failed == 2", True),
        ("not (setup_delay_ms.p99 > 3) and failed != 2", False),
        ("refused_by.NO_CREDIT != 53", False),
        ("refused_by['GATE_CALLS'] > 0", False),
        ("carried_cps / offered_cps < 0.999", True),
        ("failed - 3 >= -1", True),
    ],
)
def test_expressions(text: str, failed: bool) -> None:
    assert holds(parse(text), FIGURES) is failed


@pytest.mark.parametrize(
    "text",
    [
        "faild > 0",
        "setup_delay_ms.p42 > 0",
        "failed.x > 0",
        "print(1)",
        "failed > 'x'",
        "failed >",
        "[1]",
        "__import__('os')",
    ],
)
def test_what_is_no_figure_and_no_logic_is_refused(text: str) -> None:
    with pytest.raises(FailOnError, match="--fail-on"):
        holds(parse(text), FIGURES)


def test_a_list_and_an_overlong_expression_are_refused() -> None:
    with pytest.raises(FailOnError, match="not a number"):
        holds(parse("malformed_examples > 0"), FIGURES)
    with pytest.raises(FailOnError, match="longer"):
        parse("1" * 501)


@pytest.mark.parametrize("text", ["cut_error_ms.p99 > 20", "1 / (failed - 2) > 0"])
def test_what_was_not_measured_cannot_hold(text: str) -> None:
    with pytest.raises(NotMeasuredError):
        holds(parse(text), FIGURES)


def test_names_are_checked_before_the_run() -> None:
    check(parse("failed > 0 or cut_error_ms.p99 > 20 or refused_by.X > 1"), no_figures())
    with pytest.raises(FailOnError, match=r"no figure 'cut_error_ms\.p9'"):
        check(parse("failed > 0 or cut_error_ms.p9 > 20"), no_figures())
