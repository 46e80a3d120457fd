"""The seven stages of the demo, each what a user or the platform really does, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.datasets.rows import TrafficMessage
from monitoring.drift.reports import list_reports
from tidegate.adapters.kfp_local import StepEvent
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.api_keys import ensure_default_keys
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.domain.drift import DriftReport
from tidegate.domain.version import ModelVersion
from tidegate.errors import TidegateError, Unavailable
from tidegate.ids import new_id
from tidegate.local.demo.manifests import demo_manifests
from tidegate.local.demo.narrator import Narrator
from tidegate.local.demo.story import USERS, Story
from tidegate.local.demo.traffic import Tally, TrafficDriver
from tidegate.local.demo.watch import Watcher
from tidegate.local.platform import LocalPlatform
from tidegate.local.runs import run_pipeline
from tidegate.settings import Settings
from tidegate.store.resources import ResourceStore

_CALM_REQUESTS = 120
_CHANGED_REQUESTS = 500
"""A third of them is tested on, some more are dropped. Of 280, some labels had hardly a row in the new wording left to
learn from, and now and then the gate refused the version."""
_SERVE_SECONDS = 180.0
_RETRAIN_SECONDS = 600.0
_ROLLOUT_SECONDS = 420.0
_SLOW_PER_SECOND = 0.4
"""Traffic during a training: it shows that serving goes on, and leaves the two cores to the training."""
_BASE_STEPS = 40
_LEARNING_RATE = 3e-3
_BAD_STEPS = 8
_EVAL_ROWS = 80
_ACTOR = "demo"


class Demo:
    """One telling of the story on one platform.

    Args:
        platform: it is started here, and left running.
        name: of the deployment; the registered model is `model`.
    """

    def __init__(
        self, platform: LocalPlatform, story: Story, narrator: Narrator, *, name: str, model: str, seed: int
    ) -> None:
        self._platform = platform
        self._story = story
        self._narrator = narrator
        self.name = name
        self.model = model
        self._seed = seed
        self._parts: list[str] = []

    # --- the platform ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts what the pipeline needs and asks for the engine, which warms up meanwhile."""
        self._platform.up(self._narrator.say, wait_for=["ray", "mlflow"])
        self.settings: Settings = self._platform.settings
        self.db = Database.open(self.settings.database_url)
        self.watcher = Watcher(self.db, self.name, self._narrator, self._check_alive)
        self.registry = MlflowRegistry(self.settings.mlflow_uri, cache=self.settings.cache)
        keys = ensure_default_keys(self.settings.api_keys_path)
        self.traffic = TrafficDriver(
            self.settings.gateway_url, keys["app"], self.name, label_key=keys["labeller"], label_delay=1.0
        )
        self._apply("ModelRuntime")

    @property
    def tally(self) -> Tally:
        return self.traffic.tally

    # --- 1 and 2: data and pipeline --------------------------------------------------------------------------

    def train_first(self) -> ModelVersion:
        """Runs `fine_tune` on the story's data, up to a registered and nominated version."""
        run = f"{self.name}-{new_id().lower()}"
        self._pipeline(
            "fine-tune",
            run,
            {
                **_source(self._story.source),
                **self._common(),
                "run_name": run,
                "max_steps": _BASE_STEPS,
                "learning_rate": _LEARNING_RATE,
                "eval_max_rows": _EVAL_ROWS,
            },
        )
        return self._registered(run)

    # --- 3 and 4: serving and traffic ------------------------------------------------------------------------

    def serve(self) -> None:
        """Applies the deployment and waits until its first version answers."""
        self._platform.wait(["gateway", "controller", "scorer", "receiver"], self._narrator.say)
        self._apply("ModelDeployment")
        self.watcher.wait("serving the first version", self._serves, _SERVE_SECONDS)

    def send_calm(self) -> None:
        """Traffic as it was in the training data."""
        start = self.traffic.send(itertools.islice(self._story.before(self._seed), _CALM_REQUESTS))
        self._told(start, "calm")

    # --- 5: drift --------------------------------------------------------------------------------------------

    def drift(self) -> DriftReport:
        """The traffic changes; the drift check finds it and sends its alert."""
        changed_at = SystemClock().now()
        start = self.traffic.send(itertools.islice(self._after(), _CHANGED_REQUESTS))
        self._told(start, "changed")
        run = f"{self.name}-drift-{new_id().lower()}"
        window = {"deployment": self.name, "window_start": changed_at.isoformat(), "run_name": run}
        self._pipeline("drift-check", run, window)
        return list_reports(self.settings, self.name, limit=1)[0]

    def retrain(self) -> ModelVersion:
        """Waits for the retraining that the alert starts, under traffic that goes on."""
        with self.traffic.background(self._after(), _SLOW_PER_SECOND):
            request = self.watcher.wait_for_retraining(self.model, _RETRAIN_SECONDS)
        return self._registered(request.key)

    # --- 6 and 7: the canary and the bad version -------------------------------------------------------------

    def canary(self, candidate: ModelVersion) -> dict[str, Any]:
        """Traffic until the rollout of the candidate has ended; it must be promoted."""
        status = self._roll(candidate)
        if status["phase"] != "Succeeded":
            raise Unavailable(
                f"the rollout of {candidate.key} ended as {status['phase']}: {status['message']}",
                next_step=f"See `tidegate rollout explain {self.name}`.",
            )
        return dict(status)

    def train_bad(self) -> ModelVersion:
        """A version from corrupted labels; the gate fails it, and an explicit, recorded override lets it pass."""
        run = f"{self.name}-bad-{new_id().lower()}"
        arguments = {
            **_source(self._story.corrupted),
            **self._common(),
            "start_from": f"{self.model}@champion",
            "champion": f"{self.model}@champion",
            "run_name": run,
            "max_steps": _BAD_STEPS,
            "learning_rate": _LEARNING_RATE,
            "eval_max_rows": _EVAL_ROWS - 20,
            "override_by": "demo",
            "override_reason": "shows that the rollout catches what a person lets past the gate",
        }
        with self.traffic.background(self._after(), _SLOW_PER_SECOND):
            self._pipeline("fine-tune", run, arguments)
        return self._registered(run)

    def rollback(self, candidate: ModelVersion) -> dict[str, Any]:
        """Traffic until the rollout has ended; the candidate must be rolled back."""
        status = self._roll(candidate)
        if status["phase"] != "RolledBack":
            raise Unavailable(
                f"the bad version {candidate.key} was not rolled back: {status['phase']}: {status['message']}",
                next_step=f"See `tidegate rollout explain {self.name}`.",
            )
        return dict(status)

    # --- inside ----------------------------------------------------------------------------------------------

    def _roll(self, candidate: ModelVersion) -> Mapping[str, Any]:
        def ended(status: Mapping[str, Any]) -> bool:
            mine = str(status.get("rollout") or "").startswith(f"{self.name}-v{candidate.version}-")
            return mine and status.get("phase") in {"Succeeded", "RolledBack", "Paused"}

        with self.traffic.background(self._after()):
            status = self.watcher.wait(f"the end of the rollout of {candidate.key}", ended, _ROLLOUT_SECONDS)
        self.watcher.tell()
        return status

    def _after(self) -> Iterator[TrafficMessage]:
        self._parts.append("after")
        return self._story.after(self._seed + len(self._parts))

    def _pipeline(self, pipeline: str, run: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        def told(event: StepEvent) -> None:
            if event.kind == "started":
                self._narrator.moving(event.step)
            elif event.kind == "line":
                self._narrator.moving(f"{event.step}: {event.text}")
                last[event.step] = event.text
            elif event.kind == "succeeded":
                self._narrator.part(event.step, event.seconds)
                self._narrator.say(f"{event.step}: {last.get(event.step, 'done')} ({event.seconds:.0f} s)")

        last: dict[str, str] = {}
        return run_pipeline(self.settings, pipeline, arguments, run=run, actor=_ACTOR, on_event=told)

    def _common(self) -> dict[str, Any]:
        return {"model_name": self.model, "seed": self._seed, "customer_pool": USERS}

    def _registered(self, run: str) -> ModelVersion:
        version = self.registry.by_key(self.model, f"{run}/register")
        if version is None:
            raise TidegateError(f"run {run} registered no version of {self.model}", next_step="Read its log.")
        return version

    def _apply(self, kind: str) -> None:
        store = ResourceStore(self.db, SystemClock())
        for resource in demo_manifests(self.name, self.model):
            if resource.kind == kind:
                store.apply(resource, actor=_ACTOR)
                self._narrator.say(f"applied {kind} {resource.metadata.name}")

    def _told(self, start: int, what: str) -> None:
        answers = self.tally.answers[start:]
        failed = sum(answer.error is not None for answer in answers)
        self._narrator.say(
            f"{len(answers)} {what} requests: {self.tally.accuracy(start):.0%} got the true intent, {failed} failed"
        )

    def _serves(self, status: Mapping[str, Any]) -> bool:
        return bool(status.get("stable")) and _ready(status) and self.traffic.serves()

    def _check_alive(self) -> None:
        dead = [part for part in self._platform.status() if part.state == "dead"]
        if dead:
            raise Unavailable(
                f"{dead[0].name} has died",
                next_step=f"Read {dead[0].log}; `tidegate up` starts it again, its state is kept.",
            )


def _ready(status: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    """A source of the story as the pipeline's parameters."""
    return {
        "data": source["uri"],
        "data_format": source["format"],
        "column_mapping": source.get("mapping", {}),
        "intents": source.get("intents", []),
    }


def demo_folder(home: Path, name: str) -> Path:
    """Where a demo keeps its data, its picture and its summary."""
    return home / "demo" / name
