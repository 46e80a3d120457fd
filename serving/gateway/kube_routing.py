"""Routing from the API server: a watch in the background, and a Lease that says which epochs are in force here.

A gateway that cannot reach the API server keeps what it has; nothing of a request goes through this.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from tidegate.adapters.kube.api import KubeApi, NotThere
from tidegate.adapters.kube.gateways import EPOCHS, GATEWAY_LABELS
from tidegate.adapters.kube.kinds import LEASE, OWN, Object
from tidegate.clock import Clock
from tidegate.domain.routing import RoutingTable
from tidegate.domain.routing_resource import ModelRoutingSpec, routing_table
from tidegate.errors import Conflict, TidegateError, Unavailable
from tidegate.kube_codec import from_kube, time_text
from tidegate.logging import get_logger

_log = get_logger(__name__)
_KIND = OWN["ModelRouting"]
_WATCH_SECONDS = 30
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_NO_NAME = re.compile(r"[^a-z0-9-]+")


class KubeRoutingSource:
    """The `RoutingSource` of a cluster.

    Args:
        fresh_seconds: an acknowledgement is signed for so long (s).
    """

    def __init__(self, api: KubeApi, clock: Clock, fresh_seconds: float) -> None:
        self._api = api
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._tables: dict[str, RoutingTable] = {}
        self._token = 0
        self._problem: str | None = "routing has not been listed yet"
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="routing-objects", daemon=True).start()

    # --- the port ----------------------------------------------------------------------------------------------------

    def change_token(self) -> int:
        """Raises:
        Unavailable: the API server does not answer; what was last seen may be old.
        """
        with self._lock:
            if self._problem is not None:
                raise Unavailable(self._problem, next_step="It is tried again.")
            return self._token

    def all(self) -> Sequence[RoutingTable]:
        with self._lock:
            return [self._tables[name] for name in sorted(self._tables)]

    def acknowledge_all(self, gateway: str, epochs: Mapping[str, int]) -> None:
        """Renews this gateway's Lease, with the epochs in force here.

        Raises:
            Unavailable: the API server does not answer.
        """
        name = lease_name(gateway)
        notes = {EPOCHS: json.dumps(dict(sorted(epochs.items())))}
        spec = {
            "holderIdentity": gateway,
            "leaseDurationSeconds": max(1, round(self._fresh_seconds)),
            "renewTime": time_text(self._clock.now()),
        }
        try:
            self._api.patch(LEASE, name, {"metadata": {"annotations": notes}, "spec": spec})
        except NotThere:  # not there yet, or removed as dead
            metadata = {"name": name, "labels": dict(GATEWAY_LABELS), "annotations": notes, **_pod_reference()}
            self._api.create(LEASE, {"metadata": metadata, "spec": spec})

    def forget_gateway(self, gateway: str) -> None:
        """A gateway that stops cleanly is not waited for."""
        self._stop.set()
        self._api.delete(LEASE, lease_name(gateway))

    # --- the watch ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                self._follow()
                pause = _PAUSE_SECONDS
            except Conflict as error:  # too far behind: list again
                _log.info("routing watch begins again", problem=str(error))
            except TidegateError as error:
                self._failed(str(error))
            except Exception as error:
                _log.exception("routing watch failed")
                self._failed(f"{type(error).__name__}: {error}")
            self._stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _follow(self) -> None:
        """Lists, then watches until the stream ends or breaks."""
        try:
            items, since = self._api.list(_KIND)
        except NotThere as error:
            step = "Install the definitions in helm/tidegate/files/crds."
            raise Unavailable("the API server knows no modelroutings", next_step=step) from error
        for item in items:
            self._take("LISTED", item)
        with self._lock:
            self._token += 1  # an empty list is news, too
            self._problem = None
        while not self._stop.is_set():
            for event, body in self._api.watch(_KIND, since, seconds=_WATCH_SECONDS):
                since = body["metadata"]["resourceVersion"]
                if event != "BOOKMARK":
                    self._take(event, body)

    def _take(self, event: str, body: Object) -> None:
        """Only a routing that says `removed` ends a service. One that is gone was deleted by hand or not restored: its
        users go on with the last good table."""
        name, table = body["metadata"]["name"], _table(body)
        with self._lock:
            if event == "DELETED":
                _log.error("routing was deleted; the last good table stays", name=name)
            elif body["spec"].get("removed"):
                self._tables.pop(name, None)
            elif table is not None:
                self._tables[name] = table
            self._token += 1

    def _failed(self, problem: str) -> None:
        with self._lock:
            self._problem = problem


def lease_name(gateway: str) -> str:
    """A gateway's id as the name of an object."""
    return f"gateway-{_NO_NAME.sub('-', gateway.lower()).strip('-')}"[:253]


def _table(body: Object) -> RoutingTable | None:
    """None for one that was removed or that this release cannot read."""
    try:
        return routing_table(from_kube(ModelRoutingSpec, body["spec"]))
    except (ValidationError, TypeError, ValueError) as error:
        _log.error(
            "routing is not understood; the last good one stays", name=body["metadata"]["name"], problem=str(error)
        )
        return None


def _pod_reference() -> dict[str, list[dict[str, str]]]:
    """The pod of this process as owner, where the chart says which it is: the Lease goes with it."""
    name, uid = os.environ.get("POD_NAME"), os.environ.get("POD_UID")
    if not name or not uid:
        return {}
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]}
