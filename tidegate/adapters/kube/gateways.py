"""How gateways show themselves on a cluster: a Lease each, with the epochs they route by in an annotation."""

from __future__ import annotations

from typing import Final

GATEWAY_LABELS: Final = {"app.kubernetes.io/managed-by": "tidegate", "tidegate.dev/component": "gateway"}
GATEWAY_SELECTOR: Final = ",".join(f"{key}={value}" for key, value in GATEWAY_LABELS.items())
EPOCHS: Final = "tidegate.dev/epochs"
"""JSON: deployment → epoch in force there."""
