"""What the leading operator does beside judging: takes over, lists anew, answers what nobody else would, tidies up."""

from __future__ import annotations

from serving.operator.actions import KubeActions
from serving.operator.metrics import Metrics
from serving.operator.objects import Objects
from serving.operator.records import KubeRecords
from serving.operator.routing import KubeRouting
from tidegate.adapters.kube.election import LeaseElection
from tidegate.adapters.kube.kinds import OWN
from tidegate.clock import Clock
from tidegate.errors import Conflict, TidegateError
from tidegate.logging import get_logger
from tidegate.store.leases import Fence

_log = get_logger(__name__)
_DEPLOYMENT = OWN["ModelDeployment"]
_AGAIN_SECONDS = 10.0
_ORPHAN_SECONDS = 60.0
"""A backup may bring routing back before the deployments that it belongs to."""


class KubeHousehold:
    """The `Household` port of a cluster."""

    def __init__(
        self,
        objects: Objects,
        routing: KubeRouting,
        actions: KubeActions,
        records: KubeRecords,
        metrics: Metrics,
        clock: Clock,
        resync_seconds: float,
        election: LeaseElection,
    ) -> None:
        self._election = election
        self._objects = objects
        self._routing = routing
        self._actions = actions
        self._records = records
        self._metrics = metrics
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._listed_at = float("-inf")
        self._orphans: dict[str, float] = {}
        self._said = ""

    def taken_over(self, fence: Fence) -> None:
        """Starts from what is there, and signs it, so that the leader before can change none of it any more.

        Raises:
            TidegateError: the API server does not answer; the lease is of no use then.
        """
        self._list()
        self._check_epochs(fence)
        self._objects.sign(fence)

    def keep(self, fence: Fence) -> None:
        """Trouble here never keeps rollouts from being judged.

        Raises:
            Conflict: something carries a higher epoch than this lease's: a person or a backup wrote it.
        """
        self._check_epochs(fence)
        self._records.flush()
        self._metrics.waiting.set(self._records.waiting)
        self._metrics.show(
            self._objects.all(_DEPLOYMENT),
            self._objects.all(OWN["ModelRouting"]),
            self._objects.all(OWN["ModelRuntime"]),
        )
        try:
            now = self._clock.monotonic()
            if now - self._listed_at > self._resync_seconds:
                self._listed_at = now - self._resync_seconds + _AGAIN_SECONDS  # where it fails: not every round
                self._list()
                self._actions.prune(fence)
                self._routing.prune(fence)
            self._actions.refuse_unclaimed(fence)
            self._end_orphans(fence)
            self._said = ""
        except Conflict as error:
            _log.info("written meanwhile", problem=str(error))
        except TidegateError as error:
            if str(error) != self._said:
                _log.warning("housekeeping failed; it is tried again", problem=str(error))
            self._said = str(error)

    def _end_orphans(self, fence: Fence) -> None:
        """A deployment that was deleted past its finalizer is deleted all the same: its routing goes out of force."""
        now, there = self._clock.monotonic(), {body["metadata"]["name"] for body in self._objects.all(_DEPLOYMENT)}
        routings = self._objects.all(OWN["ModelRouting"])
        routed = {body["metadata"]["name"] for body in routings if not body["spec"].get("removed")}
        self._orphans = {name: self._orphans.get(name, now) for name in routed - there}
        for name, since in self._orphans.items():
            if now - since > _ORPHAN_SECONDS:
                _log.warning("routing without a deployment is taken out of force", deployment=name)
                self._routing.remove(name, fence=fence)
                self._records.removed(name, fence)

    def _check_epochs(self, fence: Fence) -> None:
        highest = self._objects.highest_epoch()
        if highest > fence.epoch:
            self._election.lift(fence.name, highest)
            raise Conflict(
                f"lease {fence.name!r} is at epoch {fence.epoch}, and epoch {highest} has led here",
                next_step="It is taken again with a higher one.",
            )

    def _list(self) -> None:
        self._objects.refresh()
        self._listed_at = self._clock.monotonic()
