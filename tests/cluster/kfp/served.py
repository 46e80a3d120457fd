"""What a deployment leaves behind that serves: routing in force, a log of answered requests, labels that came later."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from components.datasets.generator import traffic
from components.datasets.intents import BASE_INTENTS
from tests.cluster.kfp.backend import Backend
from tests.cluster.kfp.platform import DEPLOYMENT, Platform
from tidegate import inference_log
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.evidence import Feedback
from tidegate.inference_log import LogRow
from tidegate.store.evidence import EvidenceStore

REQUESTS = 90


def serve(backend: Backend, platform: Platform, model: str, version: str) -> None:
    """The version serves, and customers have asked it things that it never learned."""
    routing = {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "ModelRouting",
        "metadata": {"name": DEPLOYMENT},
        "spec": _spec(model, version),
    }
    # It is the operator's to change: a new object, because an epoch never goes back.
    namespace = platform.installation.namespace
    backend.node.kubectl("delete", "modelrouting", DEPLOYMENT, "--ignore-not-found", namespace=namespace)
    backend.node.kubectl("create", "-f", "-", namespace=namespace, stdin=json.dumps(routing))
    _log(platform.environment, version)


def _spec(model: str, version: str) -> dict[str, object]:
    prompt = {"system": "Answer with one intent.", "labels": list(BASE_INTENTS)}
    arm = {
        "role": "Stable",
        "version": version,
        "weight": 100,
        "target": "http://nowhere.invalid",
        "adapter": f"{model}/{version}",
        "adapterDigest": "sha256:" + "0" * 64,
        "prompt": prompt,
    }
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "deployment": DEPLOYMENT,
        "model": DEPLOYMENT,
        "epoch": 1,
        "leaderEpoch": 1,
        "salt": "s",
        "arms": [arm],
        "updatedAt": now,
    }


def _log(environment: Mapping[str, str], version: str) -> None:
    rng = random.Random(3)
    now = datetime.now(UTC)
    rows, labels = [], []
    for number, message in enumerate(traffic(3, 60, REQUESTS, style="chat")):
        row = LogRow(
            request_id=f"served-{number}",
            time=now - timedelta(seconds=1 + (REQUESTS - number) / 10),
            model=DEPLOYMENT,
            deployment=DEPLOYMENT,
            version=version,
            role="stable",
            epoch=1,
            rollout=None,
            step=None,
            user=message.user,
            customer=message.user,
            text=message.text,
            answer=rng.choice(BASE_INTENTS),
            outcome="ok",
            latency_seconds=0.1,
            ttft_seconds=None,
            prompt_tokens=20,
            completion_tokens=4,
            features={},
        )
        rows.append(row)
        labels.append(
            Feedback(
                id=f"f-{row.request_id}",
                request_id=row.request_id,
                deployment=DEPLOYMENT,
                kind="label",
                value=message.intent,
                source="test",
                time=now,
            )
        )
    inference_log.write_rows(environment["TIDEGATE_INFERENCE_LOG__URI"], rows)
    db = Database.open(environment["TIDEGATE_DATABASE_URL"])
    try:
        EvidenceStore(db, SystemClock()).add_feedback(labels)
    finally:
        db.close()
