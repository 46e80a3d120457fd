"""RunLauncher of the profile `cluster`: a retraining is a run of the pipeline `retrain` on Kubeflow Pipelines.

The run has the request's name and is looked up by it before it is made: KFP itself takes any number of runs of one
name. Between two receivers stands the dispatcher's lease. Should a run be made twice all the same (KFP makes one whose
answer was given up long before), the oldest counts, and the steps of both find the same jobs by the same name: of two
RayJobs the API server takes one, and of two steps that work in their own pods one takes the attempt and the other waits
for it. So nothing is trained or registered twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

from tidegate.adapters.job_folder import JobFolder, folder_uri, is_transient
from tidegate.adapters.kfp_arguments import check_arguments
from tidegate.adapters.kfp_client import KfpApi, Run
from tidegate.adapters.kfp_follow import Pods, ReasonUnknown, RunStopped, steps, why
from tidegate.adapters.kfp_packages import parameters, refuse_caching, split_spec
from tidegate.adapters.kfp_versions import find_version
from tidegate.adapters.retrain_runs import PIPELINE, retrain_arguments, run_name
from tidegate.clock import Clock, SystemClock
from tidegate.domain.drift import RetrainRequest
from tidegate.errors import Denied, TidegateError, Unavailable
from tidegate.kfp_settings import KfpSettings
from tidegate.plane_settings import RetrainingSettings
from tidegate.ports import RunFailure, unclaimed
from tidegate.wire import error_from_dict

_TASKS_SECONDS: Final = 900.0
"""For so long after a run's end is waited until KFP has told how its steps ended: its agent's tries lie up to six
minutes apart."""


class KfpRunLauncher:
    """Keeps no state that matters: what a run is doing is asked of KFP by the request's name.

    Args:
        settings: how KFP is reached; it is reached when a run is to be started or looked at, not before.
        retraining: with which parameters.
        artifacts_uri: where the runs' job folders are, for the verdict of a step whose log is gone; unset, or not
            readable from here: such a run has failed for good.
        connect: the API, for tests of what surrounds it.
        pods: the API server, where it is in reach.
    """

    def __init__(
        self,
        settings: KfpSettings,
        *,
        retraining: RetrainingSettings = RetrainingSettings(),  # noqa: B008 - frozen
        artifacts_uri: str = "",
        connect: Callable[[KfpSettings], KfpApi] = KfpApi,
        pods: Pods | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._retraining = retraining
        self._artifacts_uri = artifacts_uri
        self._connect = connect
        self._pods = pods
        self._opened: KfpApi | None = None
        self._clock = clock or SystemClock()
        self._failed_since: dict[str, float] = {}

    def start(self, request: RetrainRequest, *, claim: Callable[[], None] = unclaimed) -> str:
        """The name of the request's run, which is made unless it is there.

        Args:
            claim: called right before the run is made.

        Raises:
            ImpossibleRequest: the request names no deployment.
            InvalidInput: the settings' parameters cannot be read, or the pipeline does not take them.
            NotFound: the pipeline was not uploaded.
            ContractBroken: its version caches, and would train nothing.
            Unavailable: KFP does not answer.
        """
        name, arguments = run_name(request), retrain_arguments(request, self._retraining)
        if self._find(name) is None:
            version = find_version(self._api, PIPELINE)
            spec, _ = split_spec(version.spec)
            refuse_caching(PIPELINE, version.name, spec)
            check_arguments(PIPELINE, parameters(spec), arguments)
            self._api.start(name, version.pipeline, version.id, arguments, claim=claim)
        return name

    def state(self, run: str) -> Literal["running", "succeeded", "failed"]:
        """By name. A run that is not there any more has failed; one that fails does so when its steps are told."""
        found = self._find(run)
        if found is None:
            return "failed"
        if not found.ended or (found.state != "succeeded" and self._awaits_tasks(run, found.id)):
            return "running"
        return "succeeded" if found.state == "succeeded" else "failed"

    def failure(self, run: str) -> RunFailure | None:
        """Why a failed run failed, from the failing step's own log, or what it left in the artifact store.

        A run that nothing says anything about is not begun again: it may have been a gate's no.

        Raises:
            Unavailable: KFP does not answer now.
        """
        found = self._find(run)
        if found is None:
            return RunFailure(reason=f"run {run} is not there any more; somebody deleted it", transient=False)
        if not found.ended or found.state == "succeeded":
            return None
        self._failed_since.pop(run, None)
        details = self._api.run(found.id).closed()
        error = why(self._api, details, self._pods)
        if isinstance(error, ReasonUnknown):
            error = self._verdict(run, details) or error
        transient = is_transient(error) and not isinstance(error, ReasonUnknown | RunStopped | Denied)
        return RunFailure(reason=f"run {run}: {error}", transient=transient)

    def _awaits_tasks(self, name: str, run: str) -> bool:
        """Whether a run that has failed does not tell yet at which step."""
        if not self._api.run(run).awaits_tasks or self._api.stopped(run):
            return False
        since = self._failed_since.setdefault(name, self._clock.monotonic())
        return self._clock.monotonic() - since < _TASKS_SECONDS

    def _verdict(self, run: str, details: Run) -> TidegateError | None:
        """What the failing steps' jobs left; None when there are none, or they cannot be read from here."""
        failed = [task.name for task in steps(details) if task.state == "failed"]
        if not (failed and self._artifacts_uri):
            return None
        try:
            for step in failed:
                last = JobFolder(folder_uri(self._artifacts_uri, f"{run}/{step}")).last()
                if last is not None and last.state == "failed":
                    return error_from_dict(last.error or {})
        except TidegateError:
            return None
        return Unavailable(f"step {', '.join(failed)} was lost before it came to an end")

    def since(self, run: str) -> datetime | None:
        """When the run was made."""
        found = self._find(run)
        return found.created.astimezone(UTC) if found is not None and found.created is not None else None

    @property
    def _api(self) -> KfpApi:
        if self._opened is None:
            self._opened = self._connect(self._settings)
        return self._opened

    def _find(self, name: str) -> Run | None:
        found = self._api.runs_named(name)
        return found[-1] if found else None  # newest first
