"""The real receiver with a tiny real command as the retraining: started by tests as a process of its own.

The command appends its request's key to `<home>/trained.txt`; `<home>/retrain.sh`, if there, comes next.
"""

from __future__ import annotations

import sys

from monitoring.alerts.server import serve
from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.domain.drift import RetrainRequest
from tidegate.logging import configure
from tidegate.settings import load_settings

_SCRIPT = (
    'echo "$1" >> "$TIDEGATE_HOME/trained.txt"; test -f "$TIDEGATE_HOME/retrain.sh" && . "$TIDEGATE_HOME/retrain.sh"'
)


def command(request: RetrainRequest) -> list[str]:
    return ["/bin/sh", "-c", f"{_SCRIPT}; true", "retrain", request.key]


if __name__ == "__main__":
    configure("receiver")
    settings = load_settings()
    serve(settings, LocalRunLauncher(settings.home, command=command))
    sys.exit(0)
