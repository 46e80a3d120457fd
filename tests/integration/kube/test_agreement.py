"""The API server and the models agree on what is valid, so that a manifest means the same on both substrates.

They differ, knowingly, on two forms:
  - a whole number written as 5.0, which the models refuse, and the API server only where a rule reads the field;
  - a time that is not RFC 3339, which the models take in some forms. Only the operator writes times.

`TIDEGATE_AGREEMENT_EXAMPLES` sets the number of manifests per kind.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.integration.kube.objects import SPECS, made, path, thing
from tests.kube_api import KubeApi
from tidegate.domain.kinds import CLUSTER_KINDS
from tidegate.domain.resources import ModelRuntime
from tidegate.kube_codec import from_kube

pytestmark = pytest.mark.integration

_EXAMPLES = int(os.environ.get("TIDEGATE_AGREEMENT_EXAMPLES", "150"))
_TIMES = {"updatedAt"}
Where = tuple[str | int, ...]

_texts = st.sampled_from(
    ["", "a", "a" * 63, "a" * 64, "a" * 253, "a" * 254, "Upper", "a.b", "-a", "ä", "7", "Alias", "Paired", "None"]
)
_bad_decimals = ["", "-1", "+1", "1e1", ".5", "5.", " 5", "NaN", "inf", "0.0000001", "1000000", "٣", "5\n", "51", "100"]
_decimals = st.sampled_from(
    ["0.000001", "0.5", "1", "2", "5", "50", "0", "0.0", "50.000001", "99.999999", *_bad_decimals]
)
_junk = st.one_of(
    _texts,
    _decimals,
    st.integers(-2, 102),
    st.sampled_from([1000, 1001, 1024, 1025, 50_000, 50_001, 31_536_001, 2**31, 2**53, 2**63 - 1, 2**63, 0.5, 5.5]),
    st.booleans(),
    st.sampled_from([None, [], {}, ["a"], [{}], {"a": "b"}, [["a"]], [None], {"a": None}]),
)

_step = st.fixed_dictionaries(
    {"name": st.sampled_from(["shadow", "small", "half", "most"]), "weight": st.integers(0, 100)},
    optional={
        "minPairs": st.integers(0, 50_000),
        "minDurationSeconds": st.integers(0, 86_400),
        "approval": st.sampled_from(["None", "Required", "SecondPerson"]),
    },
)
_any_metric = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["exact-match", "error-rate", "latency-p95"]),
        "mode": st.sampled_from(["NonInferiority", "NoHarm"]),
        "comparison": st.sampled_from(["Paired", "Concurrent"]),
    },
    optional={
        "maxDropPoints": _decimals,
        "maxIncreasePoints": _decimals,
        "maxIncreasePercent": st.integers(0, 200),
        "ceilingMilliseconds": st.integers(0, 20_000),
        "unit": st.sampled_from(["User", "Request"]),
    },
)
_metric = _any_metric | st.sampled_from(SPECS["ModelDeployment"]["rollout"]["metrics"])
_sorted_steps = st.lists(_step, min_size=1, max_size=3, unique_by=lambda step: str(step["name"])).map(
    lambda steps: sorted(steps, key=lambda step: str(step["weight"]).zfill(3))
)
_plan = st.fixed_dictionaries(
    {
        "steps": _sorted_steps | st.lists(_step, max_size=3),
        "metrics": st.lists(_metric, min_size=1, max_size=2, unique_by=lambda metric: str(metric["name"])),
    },
    optional={
        "bakeSeconds": st.integers(0, 100),
        "deadlineSeconds": st.integers(0, 100),
        "maxPairs": st.integers(1, 50_000),
        "onInconclusive": st.sampled_from(["Pause", "Rollback"]),
        "mirror": st.fixed_dictionaries({}, optional={"percent": st.integers(0, 100)}),
        "errorBudget": st.fixed_dictionaries({}, optional={"falseRollbackPercent": _decimals}),
    },
)
_source = st.one_of(
    st.just({"type": "Alias", "alias": "champion"}),
    st.fixed_dictionaries({"type": st.just("Alias")}, optional={"alias": _texts, "version": st.just("7")}),
    st.fixed_dictionaries({"type": st.just("Version")}, optional={"version": _texts}),
)
_FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ModelRuntime": {
        "placement": st.fixed_dictionaries(
            {}, optional={"minReplicas": st.integers(0, 3), "maxReplicas": st.integers(1, 3), "nodePool": _texts}
        ),
        "image": st.sampled_from(["localhost/engine:1", "", "a" * 513]),
    },
    "ModelDeployment": {
        "model": st.fixed_dictionaries({"name": _texts, "source": _source}),
        "rollout": _plan,
    },
    "ModelRollout": {"plan": _plan, "stable": _texts, "epoch": st.integers(-1, 2**63)},
    "RolloutAction": {
        "action": st.sampled_from(["Approve", "Promote", "Abort", "Pause", "Resume", "approve"]),
        "rollout": _texts,
        "reason": st.sampled_from(["", "a" * 1024, "a" * 1025]),
    },
    "ModelRouting": {
        "epoch": st.integers(-1, 2**63),
        "removed": st.booleans(),
        "step": _texts,
        "mirror": st.fixed_dictionaries({}, optional={"percent": st.integers(-1, 101)}),
    },
}


@st.composite
def _manifests(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A manifest that is often valid: fields drawn anew, then up to two places changed in any way."""
    fields = {name: draw(strategy) for name, strategy in _FIELDS[kind].items() if draw(st.booleans())}
    body = copy.deepcopy(thing(kind, **fields))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        _mutate(draw, body)
    return body


def _mutate(draw: st.DrawFn, body: dict[str, Any]) -> None:
    where = draw(st.sampled_from([("metadata", "name"), *_places(body["spec"], ("spec",))]))
    parent: Any = body
    for part in where[:-1]:
        parent = parent[part]
    last: Any = where[-1]
    how = draw(st.sampled_from(["replace", "replace", "take out", "invent", "repeat", "turn round"]))
    value = parent[last]
    if how == "take out" and where != ("metadata", "name"):
        del parent[last]
    elif how == "invent" and isinstance(value, dict):
        value["invented"] = 1
    elif how == "repeat" and isinstance(value, list):
        parent[last] = value * draw(st.sampled_from([2, 20]))
    elif how == "turn round" and isinstance(value, list):
        value.reverse()
    else:
        parent[last] = copy.deepcopy(draw(_texts if where == ("metadata", "name") else _junk))


def _places(value: Any, where: Where) -> Iterator[Where]:
    """The path of everything in a spec but times."""
    if where[-1] in _TIMES:
        return
    if len(where) > 1:
        yield where
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*where, key))


@pytest.mark.parametrize("kind", CLUSTER_KINDS)
def test_what_one_takes_the_other_takes(kube: KubeApi, kind: str) -> None:
    verdicts = {True: 0, False: 0}

    @settings(max_examples=_EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(_manifests(kind))
    def agree(body: dict[str, Any]) -> None:
        try:
            CLUSTER_KINDS[kind].model.model_validate(body)
            problem = None
        except ValidationError as error:
            problem = str(error)
        where = path(kind, "default") + "?dryRun=All&fieldValidation=Strict"
        answer = kube.request("POST", where, body, user="alice" if kind == "RolloutAction" else "admin")
        said = answer.json().get("message", "")
        assert answer.status_code in {201, 400, 403, 422}, said
        taken = answer.status_code in {201, 403}  # 403: an action that is valid and asked under another's name
        assert taken == (problem is None), f"API server: {said or 'taken'}\nmodel: {problem or 'taken'}"
        verdicts[taken] += 1

    agree()
    assert min(verdicts.values()) > _EXAMPLES // 20, f"one-sided: {verdicts}"


def test_a_whole_number_that_is_stored_as_a_float_is_read(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelRuntime", engine={"maxBatchSize": 5.0})
    stored = made(kube, namespace, body)
    read = from_kube(ModelRuntime, stored)
    assert (read.spec.engine.max_batch_size, type(read.spec.engine.max_batch_size)) == (5, int)
    with pytest.raises(ValidationError, match="valid integer"):
        ModelRuntime.model_validate(body)
