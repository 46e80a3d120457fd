"""The process in which `kfp.local` runs one pipeline: `python -m tidegate.adapters.kfp_local_child REQUEST RESULT`."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from tidegate.errors import TidegateError
from tidegate.wire import error_to_line

_PR_SET_PDEATHSIG = 1


def main(request_path: str, result_path: str) -> None:
    """Reads the request, whose arguments are checked, runs the pipeline, writes its outputs."""
    _end_with_the_parent()
    from kfp import local  # noqa: PLC0415 - slow, and only this process needs it

    request = json.loads(Path(request_path).read_text())
    module, _, function = request["pipeline"].partition(":")
    pipeline = getattr(importlib.import_module(module), function)
    # The image named in a package is a container's; here the step runs in this environment. kfp.local warns when the
    # image's name does not contain "python", which says nothing about ours.
    warnings.filterwarnings("ignore", message="You may be attemping to run a task", category=RuntimeWarning)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=request["root"])
    task = pipeline(**request["arguments"])
    Path(result_path).write_text(json.dumps({name: _plain(value) for name, value in task.outputs.items()}))


def _end_with_the_parent() -> None:
    """A runner that is killed cannot end this process, which would go on to register what nobody waits for (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _plain(value: Any) -> Any:
    """A parameter as it is; an artifact as its address and metadata."""
    if hasattr(value, "uri"):
        return {"uri": value.uri, "metadata": dict(value.metadata)}
    return value


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except TidegateError as error:
        print(error_to_line(error), flush=True)  # noqa: T201 - the runner reads it
        sys.exit(1)
