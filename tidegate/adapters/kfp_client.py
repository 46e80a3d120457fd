"""The Kubeflow Pipelines API, through the real `kfp.Client`: what the commands and the receiver ask of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tidegate.adapters.kfp_connection import connected
from tidegate.adapters.kfp_errors import told
from tidegate.adapters.kfp_logs import fetch_log
from tidegate.adapters.kfp_objects import (
    Pipeline,
    PipelineVersion,
    Run,
    Schedule,
    Task,
    equals,
    pipeline_of,
    run_of,
    schedule_of,
    version_of,
)
from tidegate.adapters.kfp_workflow import was_stopped
from tidegate.errors import InvalidInput, NotFound
from tidegate.kfp_settings import KfpSettings
from tidegate.ports import unclaimed

__all__ = ["KfpApi", "Pipeline", "PipelineVersion", "Run", "Schedule", "Task"]
_PAGE = 100


class KfpApi:
    """One Kubeflow Pipelines installation, and in it one namespace.

    Args:
        settings: address and credentials.
    """

    def __init__(self, settings: KfpSettings) -> None:
        if not settings.url:
            raise InvalidInput(
                "no address of Kubeflow Pipelines is set", next_step="Give --url, or set TIDEGATE_KFP__URL."
            )
        self.settings = settings
        self.url = settings.url.rstrip("/")
        self._client = connected(settings)
        with told(self.url, "the health check"):
            health = self._client._healthz_api.healthz_service_get_healthz()
        self.multi_user = bool(health.multi_user)
        if self.multi_user and not settings.namespace:
            raise InvalidInput(
                f"Kubeflow Pipelines at {self.url} has many users and no namespace is named",
                next_step="Name your profile's with --kfp-namespace, or set TIDEGATE_KFP__NAMESPACE.",
            )
        self._namespace: str | None = settings.namespace if self.multi_user else None
        self._client._context_setting["namespace"] = self._namespace or ""
        self._versions: dict[tuple[str, str], PipelineVersion] = {}

    def run_url(self, run: str) -> str:
        """A run's page."""
        return f"{(self.settings.ui_url or self.url).rstrip('/')}/#/runs/details/{run}"

    # --- pipelines and versions --------------------------------------------------------------------------------------

    def pipelines(self) -> list[Pipeline]:
        """All, by name."""
        found = self._pages(self._list_pipelines, "pipelines", "the list of pipelines")
        return sorted((pipeline_of(item) for item in found), key=lambda item: item.name)

    def _list_pipelines(self, token: str) -> Any:
        return self._client._pipelines_api.pipeline_service_list_pipelines(
            page_token=token, page_size=_PAGE, **self._in_namespace()
        )

    def pipeline(self, name: str) -> Pipeline | None:
        """The pipeline of this name."""
        with told(self.url, f"pipeline {name!r}"):
            found = self._client._pipelines_api.pipeline_service_list_pipelines(
                filter=equals(name), **self._in_namespace()
            )
        items = found.pipelines or []
        return pipeline_of(items[0]) if items else None

    def must_have(self, name: str) -> Pipeline:
        """The pipeline of this name.

        Raises:
            NotFound: there is none.
        """
        found = self.pipeline(name)
        if found is None:
            known = ", ".join(item.name for item in self.pipelines()) or "none"
            raise NotFound(
                f"Kubeflow Pipelines at {self.url} has no pipeline {name!r}",
                next_step=f"Upload it with 'tidegate pipelines upload'. There are: {known}.",
            )
        return found

    def create_pipeline(self, name: str, description: str) -> Pipeline:
        """Without a version.

        Raises:
            Conflict: there is one of this name.
        """
        import kfp_server_api  # noqa: PLC0415

        body = kfp_server_api.V2beta1Pipeline(display_name=name, description=description, namespace=self._namespace)
        with told(self.url, f"pipeline {name!r}"):
            made = self._client._pipelines_api.pipeline_service_create_pipeline(pipeline=body)
        return pipeline_of(made)

    def versions(self, pipeline: str) -> list[PipelineVersion]:
        """The versions of a pipeline's id, newest first."""
        api = self._client._pipelines_api
        found = self._pages(
            lambda token: api.pipeline_service_list_pipeline_versions(
                pipeline, page_token=token, page_size=_PAGE, sort_by="created_at desc"
            ),
            "pipeline_versions",
            f"the versions of pipeline {pipeline}",
        )
        return [version_of(item) for item in found]

    def version(self, pipeline: str, version: str) -> PipelineVersion | None:
        """A version by its id; None when it is gone. Versions never change, so each is asked for once.

        Raises:
            Unavailable: KFP does not answer now.
        """
        key = (pipeline, version)
        if key not in self._versions:
            try:
                with told(self.url, f"version {version}"):
                    self._versions[key] = version_of(self._client.get_pipeline_version(pipeline, version))
            except NotFound:
                return None
        return self._versions[key]

    def spec_of(self, run: Run) -> Mapping[str, Any]:
        """What the version of a run holds; empty when it is gone."""
        found = self.version(run.pipeline, run.version)
        return found.spec if found is not None else {}

    def upload_version(self, package: Path, pipeline: str, name: str, description: str) -> PipelineVersion:
        """A package that was checked becomes a version: the server never answers to a malformed one.

        Raises:
            Conflict: the pipeline has a version of this name.
        """
        with told(self.url, f"version {name!r}"), _quiet():
            made = self._client.upload_pipeline_version(
                str(package), pipeline_version_name=name, pipeline_id=pipeline, description=description
            )
        return version_of(made)

    # --- runs --------------------------------------------------------------------------------------------------------

    def experiment(self) -> str:
        """The id of the settings' experiment, which is made when it is not there."""
        with told(self.url, f"experiment {self.settings.experiment!r}"), _quiet():
            made = self._client.create_experiment(self.settings.experiment, namespace=self._namespace)
        return str(made.experiment_id)

    def start(
        self,
        name: str,
        pipeline: str,
        version: str,
        parameters: Mapping[str, Any],
        *,
        claim: Callable[[], None] = unclaimed,
    ) -> Run:
        """A run of a version. `claim` is called right before the one request that makes it, and may raise."""
        experiment = self.experiment()
        claim()
        with told(self.url, f"run {name!r}"), _quiet():
            made = self._client.run_pipeline(
                experiment_id=experiment,
                job_name=name,
                pipeline_id=pipeline,
                version_id=version,
                params=dict(parameters),
                service_account=self.settings.service_account or None,
            )
        return run_of(made)

    def run(self, run: str) -> Run:
        """A run by its id, as it is now."""
        with told(self.url, f"run {run}"):
            return run_of(self._client._run_api.run_service_get_run(run))

    def runs_named(self, name: str) -> list[Run]:
        """Runs of this name, newest first."""
        return self.runs(limit=_PAGE, filter=equals(name))

    def runs(self, limit: int, *, pipeline: str = "", **more: Any) -> list[Run]:
        """The newest runs; with a pipeline's id, of that pipeline, however many others there are among them."""
        found: list[Run] = []
        token = ""
        while True:
            with told(self.url, "the list of runs"):
                answer = self._client._run_api.run_service_list_runs(
                    page_token=token,
                    page_size=_PAGE if pipeline else min(limit, _PAGE),
                    sort_by="created_at desc",
                    **self._in_namespace(),
                    **more,
                )
            found += [run for run in map(run_of, answer.runs or ()) if not pipeline or run.pipeline == pipeline]
            token = answer.next_page_token or ""
            if not token or len(found) >= limit:
                return found[:limit]

    def terminate(self, run: str) -> None:
        """Ends a run."""
        with told(self.url, f"run {run}"):
            self._client.terminate_run(run)

    def stopped(self, run: str) -> bool:
        """Whether somebody ended the run before its time."""
        with told(self.url, f"run {run}"):
            return was_stopped(self._client, run, self.settings.request_timeout)

    def log(self, run: str, pod: str) -> str | None:
        """What the main container of a run's pod wrote; None when neither pod nor archive has it any more.

        Raises:
            Unavailable: nobody answers; the log may be there all the same.
        """
        with told(self.url, f"the log of pod {pod}"):
            return fetch_log(self._client, run, pod, self.settings.request_timeout)

    # --- schedules ---------------------------------------------------------------------------------------------------

    def schedules(self, name: str = "") -> list[Schedule]:
        """All, or those of a name."""
        more = {"filter": equals(name)} if name else {}
        api = self._client._recurring_run_api
        found = self._pages(
            lambda token: api.recurring_run_service_list_recurring_runs(
                page_token=token, page_size=_PAGE, **self._in_namespace(), **more
            ),
            "recurring_runs",
            "the list of schedules",
        )
        return sorted((schedule_of(item) for item in found), key=lambda item: item.name)

    def create_schedule(self, wanted: Schedule) -> Schedule:
        """A recurring run: no catching up, one at a time."""
        with told(self.url, f"schedule {wanted.name!r}"), _quiet():
            made = self._client.create_recurring_run(
                experiment_id=wanted.experiment,
                job_name=wanted.name,
                description=wanted.description,
                cron_expression=wanted.cron,
                max_concurrency=wanted.max_concurrency,
                no_catchup=wanted.no_catchup,
                params=dict(wanted.parameters),
                pipeline_id=wanted.pipeline,
                version_id=wanted.version,
                enabled=wanted.enabled,
                service_account=wanted.service_account or None,
            )
        return schedule_of(made)

    def enable_schedule(self, schedule: str, *, enabled: bool) -> None:
        """Switches a schedule on or off."""
        with told(self.url, f"schedule {schedule}"):
            (self._client.enable_recurring_run if enabled else self._client.disable_recurring_run)(schedule)

    def delete_schedule(self, schedule: str) -> None:
        """Runs that it started stay."""
        with told(self.url, f"schedule {schedule}"):
            self._client.delete_recurring_run(schedule)

    # --- the calls ---------------------------------------------------------------------------------------------------

    def _in_namespace(self) -> dict[str, str]:
        return {"namespace": self._namespace} if self._namespace else {}

    def _pages(self, page: Callable[[str], Any], field: str, doing: str) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            with told(self.url, doing):
                answer = page(token)
            found += getattr(answer, field) or []
            token = answer.next_page_token or ""
            if not token:
                return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The client prints links; ours are told by the commands."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
