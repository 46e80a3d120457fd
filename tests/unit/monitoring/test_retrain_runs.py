"""The parameters of a retraining: what the request says, what a deployment's settings say, what a person says."""

from __future__ import annotations

import json

import pytest

from tests.unit.store.examples import request as made
from tidegate.adapters.retrain_runs import ImpossibleRequest, retrain_arguments
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import InvalidInput
from tidegate.settings import load_settings


def request(deployment: str | None) -> RetrainRequest:
    return made("k").model_copy(update={"deployment": deployment})


OWN = {"*": {"max_steps": 200, "seed": 3}, "support": {"max_steps": 400}}


def test_a_deployment_s_own_win_over_those_of_any_and_a_person_s_over_both() -> None:
    of_support, of_other = request("support"), request("other")
    assert retrain_arguments(of_support, {}) == {
        "deployment": "support",
        "model_name": of_support.model,
        "trigger": "k",
        "run_name": "k",
    }
    assert retrain_arguments(of_support, OWN).items() >= {"max_steps": 400, "seed": 3}.items()
    assert retrain_arguments(of_other, OWN).items() >= {"max_steps": 200, "seed": 3}.items()
    said = retrain_arguments(of_support, OWN, {"max_steps": 9, "seed": None})
    assert said.items() >= {"max_steps": 9, "seed": 3}.items()


@pytest.mark.parametrize("name", ["deployment", "model_name", "trigger", "run_name"])
def test_what_the_request_says_is_said_by_nobody_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=name):
        retrain_arguments(request("support"), {}, {name: "x"})
    monkeypatch.setenv("TIDEGATE_RETRAINING__PARAMETERS", json.dumps({"*": {name: "x"}}))
    with pytest.raises(InvalidInput, match=f"{name}: the alert and its request say this themselves"):
        load_settings()


def test_a_request_without_a_deployment_is_impossible() -> None:
    with pytest.raises(ImpossibleRequest):
        retrain_arguments(request(None), OWN)


def test_parameters_are_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_RETRAINING__PARAMETERS", json.dumps(OWN))
    assert load_settings().retraining.parameters == OWN
