"""Opens the online feature store of the settings, warmed: its first lookup must not be a user's."""

from __future__ import annotations

from tidegate.logging import get_logger
from tidegate.ports import OnlineFeatures
from tidegate.settings import Settings

_log = get_logger(__name__)


def open_online(settings: Settings) -> OnlineFeatures | None:
    """The online store, or None when the installation has no feature repository (features are unknown then).

    Takes seconds: Feast is slow to import, so it is done before the gateway accepts requests.
    """
    if not (settings.feast_repo / "feature_store.yaml").is_file():
        _log.warning("no feature repository, features are unknown", path=str(settings.feast_repo))
        return None
    from tidegate.adapters.feast_store import FeastOnline  # noqa: PLC0415 - seconds to import

    return FeastOnline(settings.feast_repo)
