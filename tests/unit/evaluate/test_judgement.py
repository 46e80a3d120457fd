"""What a pipeline says of gate and override, as the evaluation gets it; training looks at it before it begins."""

from __future__ import annotations

import re
from typing import Any

import pytest

from components import _step
from components.evaluate.checks import GateSpec, SliceFloor
from components.evaluate.spec import EvaluateSpec, Override, judgement
from components.fine_tune.component import fine_tune
from tidegate.errors import InvalidInput
from tidegate.wire import error_from_line

_WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"checks": [{"check": "slice_flor"}]}, "", "", "slice_flor.*slice_floor"),
    ({"checks": [{"check": "slice_floor", "flor": 0.2}]}, "", "", "gate.checks.0.slice_floor.flor"),
    ({"checks": [{"check": "min_value", "metric": "blue", "limit": 0.5}]}, "", "", "should be 'exact_match'"),
    ({"check": []}, "", "", "gate.check ="),
    ({}, "anna", "", "parameter override_reason = ''"),
    ({}, "", "ticket 42", "parameter override_by = ''"),
    ({}, "  ", "ticket 42", "parameter override_by = '  '"),
]


def _spec(**fields: Any) -> EvaluateSpec:
    return EvaluateSpec.model_validate({"data_uri": "d", "adapter_uri": "a", "base": "b", "out_uri": "o", **fields})


def test_nothing_said_is_the_default_gate_without_an_override() -> None:
    assert _spec(**judgement({}, "", "")) == _spec()


def test_what_is_said_arrives() -> None:
    spec = _spec(**judgement({"checks": [{"check": "slice_floor", "floor": 0.2}]}, "anna", "ticket 42"))
    assert spec.gate == GateSpec(checks=(SliceFloor(floor=0.2),))
    assert spec.override == Override(by="anna", reason="ticket 42")


@pytest.mark.parametrize(("gate", "by", "reason", "said"), _WRONG)
def test_what_cannot_be_read_is_named(gate: dict[str, Any], by: str, reason: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        judgement(gate, by, reason)


@pytest.mark.parametrize(("gate", "by", "reason", "said"), _WRONG)
def test_nothing_is_trained_for_it(
    gate: dict[str, Any],
    by: str,
    reason: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def begun(*_: Any) -> None:
        pytest.fail("a training was begun")

    monkeypatch.setattr(_step, "run_step", begun)
    with pytest.raises(SystemExit):
        fine_tune.python_func(
            featured=None,
            adapter=None,
            metrics=None,
            summary=None,
            base_model="b",
            gate=gate,
            override_by=by,
            override_reason=reason,
            run_name="r",
        )
    told = capsys.readouterr().out.splitlines()
    error = next(error for line in told if (error := error_from_line(line)))
    assert isinstance(error, InvalidInput)
    assert re.search(said, error.problem)
