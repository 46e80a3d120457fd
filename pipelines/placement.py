"""Where a pipeline's steps run: the hook by which a site's packages differ from the goldens.

A pipeline's function places every task. Without a site in force nothing is added, so that what is committed and what
`kfp.local` runs names no cluster.

And no task is cached, which Kubeflow Pipelines does by default. Its key is a step's inputs, image and command, and a
step of ours does more than return what these determine: a file changes under its address, an alias moves, a window
ends now, and to register is an effect. A cached run would do nothing of it and say that it succeeded. What a run has
done already, its job folders tell it (`tidegate.adapters.job_folder`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Place = Callable[[str, Any], None]
"""Called with a step's name and its KFP task."""

_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def placing(place: Place) -> Iterator[None]:
    """Pipelines that are built within are placed so."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


def placed(step: str, task: Any) -> Any:
    """The task, never cached, with what the site in force adds to it."""
    task.set_caching_options(enable_caching=False)
    place = _PLACE.get()
    if place is not None:
        place(step, task)
    return task
