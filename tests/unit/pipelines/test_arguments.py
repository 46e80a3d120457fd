"""Arguments that a pipeline does not take are refused with their name and value, before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.compile import compiled_parameters
from tidegate.adapters.kfp_arguments import Parameter, check_arguments
from tidegate.cli import run as cli
from tidegate.errors import InvalidInput

_PARAMETERS = {
    "data": Parameter(type="String", required=True),
    "rank": Parameter(type="Integer", required=False),
    "rate": Parameter(type="Float", required=False),
    "send_alert": Parameter(type="Boolean", required=False),
    "gate": Parameter(type="Dict", required=False),
}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": "x", "rankk": 8}, "no parameter 'rankk'"),
        ({"data": "x", "rank": "abc"}, "'rank' of pipeline 'p' is 'abc', which is no Integer"),
        ({"data": "x", "rank": True}, "is True, which is no Integer"),
        ({"data": "x", "rank": 1.5}, "is 1.5, which is no Integer"),
        ({"data": "x", "gate": {"checks": [{"limit": None}]}}, "gate.checks[0].limit of pipeline 'p' is null"),
        ({"rank": 8}, "needs the parameter(s) data"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        check_arguments("p", _PARAMETERS, arguments)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_arguments("p", _PARAMETERS, {"data": "x", "rankk": 8})
    assert "Did you mean 'rank'?" in caught.value.next_step


def test_what_fits_is_taken() -> None:
    check_arguments("p", _PARAMETERS, {"data": "x", "rank": 8, "rate": 1, "send_alert": False, "gate": {"a": [1]}})


def test_the_command_line_s_own_arguments_fit_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(cli, "_run", lambda _pipeline, _run, arguments: given.update(arguments) or {})
    data = tmp_path / "messages.csv"
    data.write_text("text,label\nhello,greeting\n")
    for more in ([], ["--group", "who", "--event-time", "when", "-p", "rank=8"]):
        result = CliRunner().invoke(cli.app, ["fine-tune", "--data", str(data), *more])
        assert result.exit_code == 0, result.output
        check_arguments("fine-tune", compiled_parameters("fine-tune"), given)
    assert given["column_mapping"]["group"] == "who"
    assert given["rank"] == 8
