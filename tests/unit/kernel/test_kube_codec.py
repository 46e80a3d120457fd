"""What is written for an API server reads back as the same value, whatever the value is."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from serving.rollout.state import RolloutState
from tests.unit.kernel.kube_values import rollout_states
from tidegate.domain.base import Contract, Score, UtcTime
from tidegate.domain.resources import MirrorSpec, ModelDeployment
from tidegate.kube_codec import decimal_text, from_kube, time_text, to_kube


class Numbers(Contract):
    value: float = 0.0
    named: dict[str, float] = {}
    many: tuple[float, ...] = ()
    maybe: float | None = None


def has_no_float(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and has_no_float(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(has_no_float, value))
    return isinstance(value, str | bool | int)


@given(rollout_states())
def test_a_controllers_state_survives_the_way_through_an_api_server(state: RolloutState) -> None:
    written = to_kube(state)
    assert has_no_float(written)
    read = from_kube(RolloutState, json.loads(json.dumps(written)))
    assert repr(read) == repr(state)  # NaN is not equal to itself
    assert to_kube(read) == written


@given(st.floats(allow_nan=False))
def test_a_float_is_the_shortest_decimal_text_that_reads_back_the_same(value: float) -> None:
    text = decimal_text(value)
    assert float(text) == value
    assert not text.endswith(".0")
    assert from_kube(Numbers, to_kube(Numbers(value=value, many=(value,), maybe=value))).many == (value,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_texts_so_that_a_state_with_one_can_still_be_written(value: float) -> None:
    written = to_kube(Numbers(named={"e-value": value}))
    assert written["named"]["e-value"] in {"NaN", "Infinity", "-Infinity"}
    assert repr(from_kube(Numbers, written).named["e-value"]) == repr(value)


def test_a_field_that_takes_finite_numbers_only_refuses_the_others_when_read() -> None:
    class Scored(Contract):
        score: Score

    with pytest.raises(ValidationError, match="finite"):
        from_kube(Scored, {"score": "NaN"})


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)), st.integers(-12, 12))  # noqa: DTZ001
def test_times_are_utc_with_microseconds_wherever_they_were_read(time: datetime, hours: int) -> None:
    class Dated(Contract):
        at: UtcTime

    elsewhere = Dated(at=time).at.astimezone(timezone(timedelta(hours=hours)))
    assert time_text(elsewhere) == time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert from_kube(Dated, to_kube(Dated(at=elsewhere))).at == time


def test_a_whole_number_in_a_float_field_is_written_as_the_float_that_it_stands_for() -> None:
    assert to_kube(Numbers().model_copy(update={"value": 10}))["value"] == "10"


def test_names_are_camel_case_map_keys_stay_and_what_is_unset_is_left_out() -> None:
    class Inner(Contract):
        at_most: int

    class Outer(Contract):
        first_one: Inner
        by_name: dict[str, Inner]
        not_there: str | None = None
        needed: str | None

    value = Outer(first_one=Inner(at_most=1), by_name={"some_key": Inner(at_most=2)}, needed=None)
    written = to_kube(value)
    assert written == {"firstOne": {"atMost": 1}, "byName": {"some_key": {"atMost": 2}}}
    assert from_kube(Outer, written) == value


def test_a_newer_writers_fields_are_ignored_at_every_depth() -> None:
    written = to_kube(RolloutState(deployment="d")) | {"invented": {"later": 1}}
    assert from_kube(RolloutState, written) == RolloutState(deployment="d")


def test_a_manifest_written_back_is_the_manifest() -> None:
    manifest = {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "d", "uid": "1"},
        "spec": {
            "runtimeRef": {"name": "r"},
            "model": {"name": "m", "source": {"type": "Alias", "alias": "champion"}},
            "rollout": {
                "steps": [{"name": "half", "weight": 50}],
                "metrics": [{"name": "a", "mode": "NoHarm", "comparison": "Paired", "maxDropPoints": "5"}],
            },
        },
    }
    read = from_kube(ModelDeployment, manifest)
    assert from_kube(ModelDeployment, to_kube(read)) == read


def _fields(**annotations: Any) -> type[BaseModel]:
    return type("Made", (BaseModel,), {"__annotations__": annotations})


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (int | str, 1, "union of 2 types"),
        (tuple[int, str], (1, "a"), "fixed length"),
        (dict[int, str], {1: "a"}, "no texts"),
        (tuple[str | None, ...], ("a", None), r"\[1\] is None"),
        (dict[str, str | None], {"k": None}, r"\['k'\] is None"),
        (Any, {"deep": [0.5]}, "without a declared type"),
        (bytes, b"x", "cannot be written"),
    ],
)
def test_what_has_no_exact_form_is_refused_by_name(annotation: Any, value: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=rf"Made\.field.*{problem}"):
        to_kube(_fields(field=annotation)(field=value))


def test_none_that_would_be_read_as_a_default_is_refused() -> None:
    class Risky(Contract):
        limit: int | None = 5

    with pytest.raises(TypeError, match=r"Risky\.limit is None"):
        to_kube(Risky(limit=None))


def test_numbers_beyond_64_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        to_kube(_fields(field=int)(field=2**63))


def test_a_whole_number_that_was_stored_as_a_float_is_read() -> None:
    deployment = from_kube(RolloutState, {"deployment": "d", "epoch": 5.0})
    assert (deployment.epoch, type(deployment.epoch)) == (5, int)


def test_null_and_absence_are_the_same_in_a_manifest() -> None:
    assert MirrorSpec.model_validate({"percent": None}) == MirrorSpec()
    with pytest.raises(ValidationError, match="not permitted"):
        MirrorSpec.model_validate({"invented": None})
