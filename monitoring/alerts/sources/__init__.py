"""The alert sources that the receiver serves, by the last part of their path."""

from __future__ import annotations

from monitoring.alerts.sources.alertmanager import AlertmanagerSource
from monitoring.alerts.sources.base import AlertSource

SOURCES: dict[str, AlertSource] = {source.name: source for source in (AlertmanagerSource(),)}
