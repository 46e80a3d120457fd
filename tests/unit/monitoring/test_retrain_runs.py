"""The parameters of a retraining: what the request says, what a deployment's settings say, what a person says."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.unit.store.examples import request as made
from tidegate.adapters.retrain_runs import ImpossibleRequest, retrain_arguments
from tidegate.cli import run as cli
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput
from tidegate.local import retrain as found
from tidegate.plane_settings import RetrainingSettings

PARAMETERS = json.dumps({"*": {"max_steps": 200, "seed": 3}, "support": {"max_steps": 400}})
OWN, NONE = RetrainingSettings(parameters=PARAMETERS), RetrainingSettings()


def request(deployment: str | None) -> RetrainRequest:
    return made("k").model_copy(update={"deployment": deployment})


def test_a_deployment_s_own_win_over_those_of_any_and_a_person_s_over_both() -> None:
    assert retrain_arguments(request("support"), NONE) == {
        "deployment": "support",
        "model_name": request("support").model,
        "trigger": "k",
        "run_name": "k",
    }
    assert retrain_arguments(request("support"), OWN).items() >= {"max_steps": 400, "seed": 3}.items()
    assert retrain_arguments(request("other"), OWN).items() >= {"max_steps": 200, "seed": 3}.items()
    said = retrain_arguments(request("support"), OWN, {"max_steps": 9, "seed": None})
    assert said.items() >= {"max_steps": 9, "seed": 3}.items()


@pytest.mark.parametrize("name", ["deployment", "model_name", "trigger", "run_name"])
def test_what_the_request_says_is_said_by_nobody_else(name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        retrain_arguments(request("support"), NONE, {name: "x"})
    with pytest.raises(InvalidInput, match=name):
        retrain_arguments(request("support"), RetrainingSettings(parameters=json.dumps({"*": {name: "x"}})))


def test_a_request_without_a_deployment_is_impossible() -> None:
    with pytest.raises(ImpossibleRequest):
        retrain_arguments(request(None), OWN)


def test_the_command_takes_settings_and_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str, dict[str, object]]] = []
    monkeypatch.setenv("TIDEGATE_RETRAINING__PARAMETERS", PARAMETERS)
    monkeypatch.setattr(found, "find_request", lambda _settings, _key: request("support"))
    monkeypatch.setattr(cli, "_run", lambda *given: ran.append(given))
    for more in ([], ["--seed", "5", "-p", "max_steps=9", "--name", "again"]):
        result = CliRunner().invoke(cli.app, ["retrain", "--request", "k", *more])
        assert result.exit_code == 0, result.output
    (_, first, taken), (_, second, said) = ran
    assert (first, taken["run_name"], taken["max_steps"], taken["seed"]) == ("k", "k", 400, 3)
    assert (second, said["run_name"], said["max_steps"], said["seed"]) == ("again", "again", 9, 5)
