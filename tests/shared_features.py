"""The feature store as the chart configures it: registry in PostgreSQL, online store in Redis."""

from __future__ import annotations

from typing import Any


def configuration(redis: str, *, password: bool = True, tls: bool = False) -> dict[str, Any]:
    """Feast's `feature_store.yaml`. A test of the chart holds it against what is rendered.

    Args:
        redis: host:port.
    """
    options = ",ssl=true" if tls else ""
    options += ',password="${FEAST_REDIS_PASSWORD}"' if password else ""
    return {
        "project": "tidegate",
        "provider": "local",
        "registry": {"registry_type": "sql", "path": "${TIDEGATE_DATABASE_URL}"},
        "offline_store": {"type": "file"},
        "online_store": {"type": "redis", "connection_string": f"{redis}{options}"},
        "entity_key_serialization_version": 3,
    }
