"""Which compute the profile means."""

from __future__ import annotations

from tidegate.ports import Compute
from tidegate.settings import Settings, load_settings


def compute_from_settings(settings: Settings | None = None) -> Compute:
    """The Compute port of this process's profile.

    Raises:
        Unavailable: the local Ray does not answer.
    """
    settings = settings or load_settings()
    if settings.profile == "cluster":
        from tidegate.adapters.cluster_compute import ClusterCompute  # noqa: PLC0415

        return ClusterCompute(settings)
    from tidegate.adapters.ray_compute import RayCompute  # noqa: PLC0415  imports Ray only where jobs are handed over

    return RayCompute(settings)
