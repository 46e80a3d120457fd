"""`tidegate pipelines schedule`: what cannot be meant together is refused, and nothing is asked of anybody."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tidegate.cli.pipelines import app
from tidegate.errors import InvalidInput


@pytest.mark.parametrize("change", ["--enable", "--disable", "--delete"])
@pytest.mark.parametrize(
    "beside",
    [
        ["--disabled"],
        ["--version", "1"],
        ["-p", "deployment=d"],
        ["--cron", "30 2 * * *"],
        ["--pipeline", "retrain"],
        ["--timezone", "UTC"],
        ["--params", "parameters.yaml"],
    ],
    ids=lambda given: given[0],
)
def test_a_switch_takes_nothing_beside_it_that_it_would_ignore(change: str, beside: list[str]) -> None:
    result = CliRunner().invoke(app, ["schedule", "nightly", change, *beside, "--url", "http://127.0.0.1:1"])
    assert isinstance(result.exception, InvalidInput)
    assert change in result.exception.problem
    assert "Say one thing at a time" in result.exception.next_step


def test_of_two_switches_none_is_chosen() -> None:
    result = CliRunner().invoke(app, ["schedule", "nightly", "--enable", "--delete", "--url", "http://127.0.0.1:1"])
    assert isinstance(result.exception, InvalidInput)
    assert "--delete would be ignored" in result.exception.problem
