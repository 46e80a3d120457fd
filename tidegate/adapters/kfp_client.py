"""The Kubeflow Pipelines API, through the real `kfp.Client`: what the commands and the receiver ask of it."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from tidegate.adapters.kfp_errors import read_secret, told
from tidegate.errors import InvalidInput, NotFound, Unavailable
from tidegate.kfp_settings import KfpSettings

RunState = Literal["pending", "running", "succeeded", "failed", "canceled"]
_STATES: Final[Mapping[str, RunState]] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "PAUSED": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELING": "running",
    "CANCELED": "canceled",
}
_PAGE = 100
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    id: str
    name: str
    description: str
    created: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineVersion:
    id: str
    pipeline: str
    name: str
    created: datetime | None
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A node of a run: `pods` are those it was carried out by, the last try last."""

    name: str
    state: RunState
    pods: tuple[str, ...]
    started: datetime | None
    ended: datetime | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    id: str
    name: str
    state: RunState
    pipeline: str
    version: str
    created: datetime | None
    finished: datetime | None
    error: str
    schedule: str
    service_account: str
    parameters: Mapping[str, Any]
    tasks: tuple[Task, ...]
    terminated: bool

    @property
    def ended(self) -> bool:
        return self.state in {"succeeded", "failed", "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    id: str
    name: str
    pipeline: str
    version: str
    cron: str
    enabled: bool
    max_concurrency: int
    no_catchup: bool
    parameters: Mapping[str, Any]
    description: str
    service_account: str


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
        self._client = _connected(settings)
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
        self._specs: dict[tuple[str, str], Mapping[str, Any]] = {}

    def run_url(self, run: str) -> str:
        """A run's page."""
        return f"{(self.settings.ui_url or self.url).rstrip('/')}/#/runs/details/{run}"

    # --- pipelines and versions --------------------------------------------------------------------------------------

    def pipelines(self) -> list[Pipeline]:
        """All, by name."""
        found = self._pages(self._list_pipelines, "pipelines", "the list of pipelines")
        return sorted((_pipeline(item) for item in found), key=lambda item: item.name)

    def _list_pipelines(self, token: str) -> Any:
        return self._client._pipelines_api.pipeline_service_list_pipelines(
            page_token=token, page_size=_PAGE, **self._in_namespace()
        )

    def pipeline(self, name: str) -> Pipeline | None:
        """The pipeline of this name."""
        with told(self.url, f"pipeline {name!r}"):
            found = self._client._pipelines_api.pipeline_service_list_pipelines(
                filter=_equals(name), **self._in_namespace()
            )
        items = found.pipelines or []
        return _pipeline(items[0]) if items else None

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
        return _pipeline(made)

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
        return [_version(item) for item in found]

    def spec_of(self, run: Run) -> Mapping[str, Any]:
        """What the version of a run holds; empty when it is gone."""
        key = (run.pipeline, run.version)
        if key not in self._specs:
            try:
                with told(self.url, f"version {run.version}"):
                    found = self._client.get_pipeline_version(run.pipeline, run.version)
                self._specs[key] = found.pipeline_spec or {}
            except NotFound:
                self._specs[key] = {}
        return self._specs[key]

    def upload_version(self, package: Path, pipeline: str, name: str, description: str) -> PipelineVersion:
        """A package that was checked becomes a version: the server never answers to a malformed one.

        Raises:
            Conflict: the pipeline has a version of this name.
        """
        with told(self.url, f"version {name!r}"), _quiet():
            made = self._client.upload_pipeline_version(
                str(package), pipeline_version_name=name, pipeline_id=pipeline, description=description
            )
        return _version(made)

    # --- runs --------------------------------------------------------------------------------------------------------

    def experiment(self) -> str:
        """The id of the settings' experiment, which is made when it is not there."""
        with told(self.url, f"experiment {self.settings.experiment!r}"), _quiet():
            made = self._client.create_experiment(self.settings.experiment, namespace=self._namespace)
        return str(made.experiment_id)

    def start(self, name: str, pipeline: str, version: str, parameters: Mapping[str, Any]) -> Run:
        """A run of a version."""
        experiment = self.experiment()
        with told(self.url, f"run {name!r}"), _quiet():
            made = self._client.run_pipeline(
                experiment_id=experiment,
                job_name=name,
                pipeline_id=pipeline,
                version_id=version,
                params=dict(parameters),
                service_account=self.settings.service_account or None,
            )
        return _run(made)

    def run(self, run: str) -> Run:
        """A run by its id, as it is now."""
        with told(self.url, f"run {run}"):
            return _run(self._client._run_api.run_service_get_run(run))

    def runs_named(self, name: str) -> list[Run]:
        """Runs of this name, newest first."""
        return self.runs(limit=_PAGE, filter=_equals(name))

    def runs(self, limit: int, **more: Any) -> list[Run]:
        """The newest runs."""
        with told(self.url, "the list of runs"):
            found = self._client._run_api.run_service_list_runs(
                page_size=min(limit, _PAGE), sort_by="created_at desc", **self._in_namespace(), **more
            )
        return [_run(item) for item in found.runs or ()]

    def terminate(self, run: str) -> None:
        """Ends a run."""
        with told(self.url, f"run {run}"):
            self._client.terminate_run(run)

    def log(self, run: str, pod: str) -> str | None:
        """What the main container of a run's pod wrote; None when neither pod nor archive has it any more."""
        config = self._client._existing_config
        api = self._client._run_api.api_client
        try:
            answer = api.call_api(
                f"/apis/v1alpha1/runs/{run}/nodes/{pod}/log",
                "GET",
                header_params={"Accept": "*/*"},
                auth_settings=["Bearer"] if config.api_key else [],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(_CONNECT_SECONDS, self.settings.request_timeout),
            )
            return bytes(answer.data).decode("utf-8", "replace")
        except Exception:  # a log is for telling more; its lack must not hide what is known
            return None

    # --- schedules ---------------------------------------------------------------------------------------------------

    def schedules(self, name: str = "") -> list[Schedule]:
        """All, or those of a name."""
        more = {"filter": _equals(name)} if name else {}
        api = self._client._recurring_run_api
        found = self._pages(
            lambda token: api.recurring_run_service_list_recurring_runs(
                page_token=token, page_size=_PAGE, **self._in_namespace(), **more
            ),
            "recurring_runs",
            "the list of schedules",
        )
        return sorted((_schedule(item) for item in found), key=lambda item: item.name)

    def create_schedule(self, wanted: Schedule) -> Schedule:
        """A recurring run: no catching up, one at a time."""
        experiment = self.experiment()
        with told(self.url, f"schedule {wanted.name!r}"), _quiet():
            made = self._client.create_recurring_run(
                experiment_id=experiment,
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
        return _schedule(made)

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


def _connected(settings: KfpSettings) -> Any:
    """A `kfp.Client` that neither reads nor writes a file in the user's home, and waits for no answer forever."""
    warnings.filterwarnings("ignore", message="This client only works with Kubeflow Pipeline", category=FutureWarning)
    if not settings.url.startswith(("http://", "https://")):
        raise InvalidInput(
            f"the address of Kubeflow Pipelines {settings.url!r} is no URL", next_step="Write http://… or https://…."
        )
    if settings.ca_path is not None and not settings.ca_path.is_file():
        raise InvalidInput(f"the certificate authority {settings.ca_path} is no file", next_step="Correct --ca-file.")
    for path, what in ((settings.token_path, "token"), (settings.header_value_path, "header value")):
        if path is not None:
            read_secret(path, what)  # a missing one is told here, by name
    cookie = read_secret(settings.cookie_path, "cookie") if settings.cookie_path is not None else None
    header = (
        (settings.header_name, read_secret(settings.header_value_path, "header value"))
        if (settings.header_name and settings.header_value_path is not None)
        else None
    )

    from kfp import client as sdk  # noqa: PLC0415 - takes a second
    from kfp.client.token_credentials_base import TokenCredentialsBase  # noqa: PLC0415

    class Token(TokenCredentialsBase):  # type: ignore[misc]
        """The file is read for every call: a projected token is renewed every hour."""

        def refresh_api_key_hook(self, config: Any) -> None:
            assert settings.token_path is not None
            config.api_key["authorization"] = read_secret(settings.token_path, "token")

    class Client(sdk.Client):  # type: ignore[misc]
        def _load_context_setting_or_default(self) -> None:
            self._context_setting = {"namespace": ""}
            if header is not None:
                self._context_setting["client_authentication_header_name"] = header[0]
                self._context_setting["client_authentication_header_value"] = header[1]

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            """Not while it is built: the real one tries for 25 seconds."""
            del sleep_duration
            import kfp_server_api  # noqa: PLC0415

            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    try:
        made = Client(
            host=settings.url,
            cookies=cookie,
            ssl_ca_cert=str(settings.ca_path) if settings.ca_path is not None else None,
            credentials=Token() if settings.token_path is not None else None,
            ui_host=settings.ui_url or None,
        )
    except OSError as error:  # an unreadable authority
        raise Unavailable(
            f"Kubeflow Pipelines at {settings.url} cannot be talked to: {error}", next_step="Check --ca-file."
        ) from None
    _bounded(made, (_CONNECT_SECONDS, settings.request_timeout))
    return made


def _bounded(client: Any, seconds: tuple[float, float]) -> None:
    """Every call of the client has a time-out, and is not tried again behind our back."""
    api = client._run_api.api_client
    api.rest_client.pool_manager.connection_pool_kw["retries"] = False
    call = api.call_api

    def bounded(*args: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or seconds
        try:
            return call(*args, **options)
        except AttributeError as error:  # the client stumbles over an answer that never came, as over TLS
            if error.__context__ is None:
                raise
            raise error.__context__ from None

    api.call_api = bounded


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The client prints links; ours are told by the commands."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _equals(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _pipeline(item: Any) -> Pipeline:
    return Pipeline(
        id=item.pipeline_id, name=item.display_name, description=item.description or "", created=item.created_at
    )


def _version(item: Any) -> PipelineVersion:
    return PipelineVersion(
        id=item.pipeline_version_id,
        pipeline=item.pipeline_id,
        name=item.display_name,
        created=item.created_at,
        spec=item.pipeline_spec or {},
    )


def _run(item: Any) -> Run:
    reference, config = item.pipeline_version_reference, item.runtime_config
    details = (item.run_details.task_details or []) if item.run_details else []
    history = [str(status.state) for status in item.state_history or ()]
    return Run(
        id=item.run_id,
        name=item.display_name,
        state=_STATES.get(str(item.state), "pending"),
        pipeline=reference.pipeline_id or "" if reference else "",
        version=reference.pipeline_version_id or "" if reference else "",
        created=item.created_at,
        finished=item.finished_at if _STATES.get(str(item.state)) in {"succeeded", "failed", "canceled"} else None,
        error=str(item.error.message or "") if item.error else "",
        schedule=item.recurring_run_id or "",
        service_account=item.service_account or "",
        parameters=dict(config.parameters or {}) if config else {},
        tasks=tuple(_task(detail) for detail in details),
        terminated=any(state in {"CANCELING", "CANCELED"} for state in history),
    )


def _task(item: Any) -> Task:
    pods = [child.pod_name for child in item.child_tasks or () if child.pod_name]
    if item.pod_name:
        pods.append(item.pod_name)
    return Task(
        name=item.display_name or "",
        state=_STATES.get(str(item.state), "pending"),
        pods=tuple(pods),
        started=item.start_time,
        ended=item.end_time,
        error=str(item.error.message or "") if item.error else "",
    )


def _schedule(item: Any) -> Schedule:
    reference, config = item.pipeline_version_reference, item.runtime_config
    cron = item.trigger.cron_schedule.cron if item.trigger and item.trigger.cron_schedule else ""
    return Schedule(
        id=item.recurring_run_id,
        name=item.display_name,
        pipeline=reference.pipeline_id or "" if reference else "",
        version=reference.pipeline_version_id or "" if reference else "",
        cron=cron or "",
        enabled=str(item.status or item.mode) in {"ENABLED", "ENABLE"},
        max_concurrency=int(item.max_concurrency or 0),
        no_catchup=bool(item.no_catchup),
        parameters=dict(config.parameters or {}) if config else {},
        description=item.description or "",
        service_account=item.service_account or "",
    )
