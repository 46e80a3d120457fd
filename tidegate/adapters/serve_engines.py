"""Engines on Ray Serve: one application per ModelRuntime, declared through the dashboard's REST API.

Serve's API is declarative over *all* applications: a PUT that leaves one out deletes it. Every change is therefore a
read-modify-write under a lock, and nothing is written when nothing changes.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tidegate.errors import InvalidInput, NotFound, Unavailable
from tidegate.ports import AdapterSlot, EngineStatus
from tidegate.settings import Settings

Render = Callable[[str, Mapping[str, Any], Sequence[AdapterSlot]], dict[str, Any]]
"""(runtime, ModelRuntime spec, adapters) → one application of serveConfigV2; `serving.engines.catalog.render`."""

_APPLICATIONS = "/api/serve/applications/"
_TIMEOUT_SECONDS = 90.0
"""The first PUT starts Serve's controller and proxy before it answers: 5 to 20 s on a small machine."""
_STATUS_TIMEOUT_SECONDS = 5.0
_TRIES_PER_REPLICA = 6
"""Serve balances by load, so that a few questions per replica reach every one of them."""


def engines_from_settings(settings: Settings, render: Render) -> ServeEngines:
    """The engines of this platform.

    Raises:
        Unavailable: Ray's token is not there yet.
    """
    try:
        token = settings.ray_token_path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Unavailable(
            f"Ray's token {settings.ray_token_path} cannot be read ({error.strerror})",
            next_step="Run 'tidegate up' to start the platform.",
        ) from None
    return ServeEngines(
        dashboard_url=settings.ray_dashboard_url,
        token=token,
        engine_url=settings.engine_url,
        lock=settings.home / "engines.lock",
        render=render,
    )


class ServeEngines:
    """The `Engines` port on a running Ray.

    Args:
        dashboard_url: Ray's dashboard, without a path.
        token: Ray's token; empty for a Ray that asks for none.
        engine_url: where Serve's proxy shall listen (decided by the first PUT) and clients reach it.
        lock: file that serialises writers on this machine.
        render: what an application looks like; the catalog of engines belongs to the serving plane.
        remedy: what to do where Ray does not answer.
    """

    def __init__(
        self,
        *,
        dashboard_url: str,
        token: str,
        engine_url: str,
        lock: Path,
        render: Render,
        remedy: str = "Run 'tidegate status'; 'tidegate up' starts what is missing.",
    ) -> None:
        self._client = httpx.Client(
            base_url=dashboard_url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT_SECONDS,
            # The dashboard closes idle connections; one that is reused at that moment would be a failed request.
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,  # the platform's own loopback: no proxy of the environment belongs in between
        )
        # A connection each: Serve's proxy chooses per request, and a status must not wait behind a busy one.
        self._replicas = httpx.Client(
            timeout=_STATUS_TIMEOUT_SECONDS, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False
        )
        self._dashboard_url = dashboard_url
        self._engine_url = engine_url.rstrip("/")
        self._lock = lock
        self._render = render
        self._remedy = remedy

    def ensure(self, runtime: str, spec: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> None:
        """Declares the wanted engine and its adapters; returns before they are there.

        Only a change of the adapters is applied inside the running replicas; another change replaces them.

        Raises:
            InvalidInput: the spec cannot be rendered, or Serve refuses it.
            Unavailable: Ray does not answer.
        """
        wanted = self._render(runtime, spec, adapters)
        with self._exclusive():
            deployed = _deployed(self._details())
            if runtime in deployed and includes(deployed[runtime], wanted):
                return
            self._put({**deployed, runtime: wanted})

    def remove(self, runtime: str) -> None:
        """Ends the runtime's engine; one that is not there is no error."""
        with self._exclusive():
            deployed = _deployed(self._details())
            if runtime in deployed:
                self._put({name: app for name, app in deployed.items() if name != runtime})

    def status(self, runtime: str) -> EngineStatus:
        """What Serve and the replicas say now.

        Raises:
            NotFound: no such engine is declared.
            Unavailable: Ray or a running replica does not answer.
        """
        application = self._details()["applications"].get(runtime)
        if application is None:
            raise NotFound(
                f"no engine runs for ModelRuntime {runtime!r}", next_step="Apply the ModelRuntime, or wait a moment."
            )
        url = self._engine_url + application["deployed_app_config"]["route_prefix"]
        deployments = list(application["deployments"].values())
        running = {
            replica["replica_id"]: replica.get("node_id")
            for deployment in deployments
            for replica in deployment["replicas"]
            if replica["state"] == "RUNNING"
        }
        wanted = sum(deployment["target_num_replicas"] for deployment in deployments)
        states = self._replica_states(url, set(running))
        if running.keys() - states.keys():
            # What a silent replica holds is not known: nothing must be concluded from the others.
            raise Unavailable(
                f"{len(running.keys() - states.keys())} of {len(running)} replicas of engine {runtime!r} do not answer",
                next_step="They are asked again; the log of Ray says more.",
            )
        ready_on_all = _ready_on_all(states)
        declared = _declared_adapters(application["deployed_app_config"])
        ready = (
            application["status"] == "RUNNING"
            and 0 < wanted <= len(running)
            and len(states) == len(running)
            and declared <= ready_on_all
        )
        return EngineStatus(
            ready=ready,
            url=url,
            adapters=tuple(sorted(adapter for adapter, _ in ready_on_all)),
            replicas_ready=len(running),
            replicas_wanted=wanted,
            workers=len({node for node in running.values() if node}),
            message="" if ready else _explanation(application, states, declared),
        )

    # --- Serve's REST API ---------------------------------------------------------------------------------------

    def _details(self) -> dict[str, Any]:
        response = self._call("GET")
        try:
            details = response.json()
        except ValueError:
            details = None
        if not isinstance(details, dict) or "applications" not in details:
            raise Unavailable(
                f"Ray at {self._dashboard_url} does not answer as Serve's API does: {response.text[:100]!r}",
                next_step="Another program may listen there: run 'tidegate down', then 'tidegate up'.",
            )
        return details

    def _put(self, applications: Mapping[str, Mapping[str, Any]]) -> None:
        address = urlsplit(self._engine_url)
        self._call(
            "PUT",
            {
                "proxy_location": "HeadOnly",
                "http_options": {"host": address.hostname, "port": address.port or 80},
                "applications": list(applications.values()),
            },
        )

    def _call(self, method: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            response = self._client.request(method, _APPLICATIONS, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Ray at {self._dashboard_url} does not answer ({type(error).__name__})",
                next_step=self._remedy,
            ) from None
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise InvalidInput(f"Ray Serve refuses the engine: {response.text[:500]}")
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Unavailable(
                f"Ray at {self._dashboard_url} refuses the platform's token",
                next_step="Another Ray may listen there: run 'tidegate down', then 'tidegate up'.",
            )
        if response.is_error:
            raise Unavailable(
                f"Ray at {self._dashboard_url} answers {response.status_code}: {response.text[:200]}",
                next_step="Try again; the log of Ray says more ('tidegate status').",
            )
        return response

    def _replica_states(self, url: str, running: set[str]) -> dict[str, dict[str, Any]]:
        """Replica id → what it says of itself. A replica that could not be reached is not in it."""
        states: dict[str, dict[str, Any]] = {}
        for _ in range(_TRIES_PER_REPLICA * len(running)):
            if states.keys() >= running:
                break
            try:
                response = self._replicas.get(f"{url}/status")
                response.raise_for_status()
                state = response.json()
            except (httpx.HTTPError, ValueError):
                continue
            if isinstance(state, dict) and state.get("replica") in running:
                states[state["replica"]] = state
        return states

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def includes(have: Any, want: Any) -> bool:
    """Whether `have` says everything that `want` says; Serve adds defaults of its own to what it was given."""
    if isinstance(want, Mapping):
        return isinstance(have, Mapping) and all(name in have and includes(have[name], want[name]) for name in want)
    if isinstance(want, list | tuple):
        return (
            isinstance(have, list | tuple)
            and len(have) == len(want)
            and all(includes(*pair) for pair in zip(have, want, strict=True))
        )
    return bool(have == want)


def _deployed(details: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Application name → its declared configuration. Applications on their way out are not declared any more."""
    return {
        name: application["deployed_app_config"]
        for name, application in details["applications"].items()
        if application["deployed_app_config"] is not None and application["status"] != "DELETING"
    }


def _declared_adapters(config: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(id, digest) of the adapters in the user configuration."""
    return {
        (adapter["id"], adapter["digest"])
        for deployment in config["deployments"]
        for adapter in (deployment.get("user_config") or {}).get("adapters", ())
    }


def _ready_on_all(states: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    sets = [
        {(adapter["id"], adapter["digest"]) for adapter in state["adapters"] if adapter["state"] == "ready"}
        for state in states.values()
    ]
    return set.intersection(*sets) if sets else set()


def _explanation(
    application: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]], declared: set[tuple[str, str]]
) -> str:
    """Why the engine is not ready, in one line."""
    reasons = [f"application is {application['status']}"] if application["status"] != "RUNNING" else []
    messages = [application["message"], *(d["message"] for d in application["deployments"].values())]
    reasons += [message.strip().splitlines()[-1] for message in messages if message.strip()]
    for replica, state in states.items():
        if state["failure"]:
            reasons.append(f"replica {replica}: {state['failure']}")
        for adapter in state["adapters"]:
            if (adapter["id"], adapter["digest"]) in declared and adapter["state"] != "ready":
                reasons.append(f"adapter {adapter['id']} is {adapter['state']} {adapter['message']}".rstrip())
    return "; ".join(dict.fromkeys(reasons)) or "replicas do not answer yet"
