"""Which compute the profile means."""

from __future__ import annotations

from tidegate.errors import InvalidInput
from tidegate.ports import Compute
from tidegate.settings import Settings, load_settings


def compute_from_settings(settings: Settings | None = None) -> Compute:
    """The Compute port of this process's profile.

    Raises:
        InvalidInput: the profile has no compute in this release.
        Unavailable: the local Ray does not answer.
    """
    settings = settings or load_settings()
    if settings.profile == "cluster":
        raise InvalidInput(
            "profile 'cluster' has no compute yet: steps as RayJobs come with the Helm chart",
            next_step="Set TIDEGATE_PROFILE=local.",
        )
    from tidegate.adapters.ray_compute import RayCompute  # noqa: PLC0415  imports Ray only where jobs are handed over

    return RayCompute(settings)
