"""Metrics to MLflow while work runs. The work never waits for MLflow, and never fails because of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from tidegate.adapters.mlflow_rest import MlflowError, MlflowRest, as_tidegate_error
from tidegate.errors import Denied, TidegateError, Unavailable

_FLUSH_SECONDS = 1.0
_BATCH = 500
"""MLflow takes at most 1,000 metrics in one request."""
_PARAM_CHARACTERS = 6000
PATIENCE_SECONDS = 30.0
"""How long the end of a run waits for a server that is away."""


class LiveRun:
    """One MLflow run: metrics are buffered, and sent by a thread at most once a second.

    While the server is away the buffer grows, and is sent when it is back.

    Args:
        uri: of the server.
        experiment: made when it is absent.
        name: of the run.
    """

    def __init__(
        self, uri: str, *, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        self._uri, self._experiment, self._name = uri, experiment, name
        self._params = [{"key": key, "value": str(value)[:_PARAM_CHARACTERS]} for key, value in params.items()]
        self._tags = [{"key": key, "value": value} for key, value in tags.items()]
        self._rest = MlflowRest(uri, patience=0.0, timeout=5.0)
        self._started = int(time.time() * 1000)
        self._run_id = ""
        self._buffer: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-live", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Takes numbers of one step; returns at once."""
        now = int(time.time() * 1000)
        with self._lock:
            self._buffer += [
                {"key": key, "value": float(value), "timestamp": now, "step": step} for key, value in metrics.items()
            ]

    def close(self, *, status: str = "FINISHED", patience: float | None = None) -> str:
        """Sends what waits and ends the run; returns the run's id.

        Args:
            status: FINISHED or FAILED.
            patience: seconds to wait for a server that is away; `PATIENCE_SECONDS` by default.

        Raises:
            Denied: MLflow does not let us.
            Unavailable: MLflow did not come back within `patience` seconds.
        """
        self._stop.set()
        self._thread.join()
        self._rest = MlflowRest(self._uri, patience=PATIENCE_SECONDS if patience is None else patience)
        try:
            self._flush()
            self._rest.post("/runs/update", run_id=self._run_id, status=status, end_time=int(time.time() * 1000))
        except Denied:
            raise
        except Unavailable as error:
            raise Unavailable(
                f"MLflow at {self._uri} is away: {len(self._buffer)} metrics of run {self._name!r} are not recorded",
                next_step="Start it with 'tidegate up', then run the same step again.",
            ) from error
        except MlflowError as error:
            raise as_tidegate_error(error, f"run {self._name!r}") from error
        return self._run_id

    def _work(self) -> None:
        while not self._stop.wait(_FLUSH_SECONDS):
            try:
                self._flush()
            except (TidegateError, MlflowError):
                continue  # kept, and tried again in a second; `close` reports what never got through

    def _flush(self) -> None:
        with self._sending:
            if not self._run_id:
                self._run_id = self._create()
            while True:
                with self._lock:
                    batch = self._buffer[:_BATCH]
                if not batch:
                    return
                self._rest.post("/runs/log-batch", run_id=self._run_id, metrics=batch)
                with self._lock:
                    del self._buffer[: len(batch)]

    def _create(self) -> str:
        run = self._rest.post(
            "/runs/create",
            experiment_id=self._experiment_id(),
            run_name=self._name,
            start_time=self._started,
            tags=self._tags,
        )
        run_id = str(run["run"]["info"]["run_id"])
        self._rest.post("/runs/log-batch", run_id=run_id, params=self._params)
        return run_id

    def _experiment_id(self) -> str:
        try:
            found = self._rest.get("/experiments/get-by-name", experiment_name=self._experiment)
        except MlflowError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            try:
                return str(self._rest.post("/experiments/create", name=self._experiment)["experiment_id"])
            except MlflowError as other:
                if other.code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._rest.get("/experiments/get-by-name", experiment_name=self._experiment)
        return str(found["experiment"]["experiment_id"])
