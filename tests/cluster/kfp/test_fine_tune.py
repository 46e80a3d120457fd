"""`fine_tune` on real Kubeflow Pipelines, its training on real KubeRay, to a version in a real MLflow.

The step that follows the training is killed in the middle of it.
"""

from __future__ import annotations

import json

import pytest

from tests.cluster.kfp.backend import Backend
from tests.cluster.kfp.first import First
from tests.cluster.kfp.platform import Platform, nominated
from tests.cluster.kfp.runs import STEPS, pods_of, states

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_the_command_followed_every_step_to_its_end(backend: Backend, first: First) -> None:
    assert first.code == 0, first.log
    assert {step: states(backend, first.run).get(step) for step in STEPS} == dict.fromkeys(STEPS, "SUCCEEDED")
    for line in (*STEPS, "step 3 of", f"step {first.steps} of {first.steps}", "gate passed"):
        assert line in first.log


def test_a_version_is_registered_and_nominated(platform: Platform, first: First) -> None:
    version = nominated(platform, first.model)
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert version["version"] == first.version
    assert first.run in json.dumps(tags)  # the lineage says which run made it


def test_a_step_that_was_killed_found_its_training_again(backend: Backend, first: First) -> None:
    pods = pods_of(backend, first.run, "fine-tune")
    assert pods[0]["metadata"]["name"] == first.killed
    assert len(pods) == 2, "the step was tried again"
    assert len(first.rayjobs("fine-tune")) == 1, "but its work was not"


def test_training_was_done_by_rayjobs_that_are_gone(backend: Backend, first: First) -> None:
    assert all(len(first.rayjobs(step)) == 1 for step in ("fine-tune", "evaluate", "register")), first.rayjobs()
    left = {item["metadata"]["uid"] for item in backend.objects("rayjobs")}
    assert not left & set(first.rayjobs())
