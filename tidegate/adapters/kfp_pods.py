"""The pods of a KFP run, by the API server: for troubles that KFP does not tell, and logs that it has not kept."""

from __future__ import annotations

from typing import Final

from tidegate.adapters.kube.api import KubeApi
from tidegate.adapters.kube.kinds import Object
from tidegate.adapters.kube.pods import POD, troubles
from tidegate.errors import TidegateError

RUN_LABEL: Final = "pipeline/runid"
STEP_LABEL: Final = "tidegate.dev/step"
_MAIN = "main"


class RunPods:
    """What may be read is read; a missing permission hides no run's result."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    def troubles(self, run: str) -> list[str]:
        """What keeps the run's pods from working."""
        return troubles(self._pods(run))

    def logs(self, run: str, step: str) -> dict[str, str]:
        """What the step's pods wrote, by the pod's name, the last try last."""
        pods = [pod for pod in self._pods(run) if (pod["metadata"].get("labels") or {}).get(STEP_LABEL) == step]
        pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
        names = [str(pod["metadata"]["name"]) for pod in pods]
        return {name: log for name in names if (log := self._log(name))}

    def _pods(self, run: str) -> list[Object]:
        try:
            return self._api.list(POD, labels=f"{RUN_LABEL}={run}")[0]
        except TidegateError:
            return []

    def _log(self, pod: str) -> str | None:
        try:
            return self._api.log(pod, _MAIN)
        except TidegateError:
            return None
