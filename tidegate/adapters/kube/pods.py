"""Pods as they explain themselves: why one does not start, and how one ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tidegate.adapters.kube.kinds import ApiKind, Object

POD: Final = ApiKind("Pod", "v1", "pods")
_WAITING_IS_NORMAL = frozenset({"ContainerCreating", "PodInitializing"})
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
_LONGEST = 300


def troubles(pods: Iterable[Object]) -> list[str]:
    """A sentence for everything that keeps these pods from working; empty while all is well."""
    return [sentence for pod in pods for sentence in _of(pod)]


def _of(pod: Object) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if status.get("reason") in {"Evicted", "Preempting", "NodeLost", "DeadlineExceeded", "Shutdown", "Terminated"}:
        yield f"pod {name} was ended: {status['reason']}: {_short(status.get('message'))}"
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"pod {name} finds no node: {_short(condition.get('message') or condition.get('reason'))}"
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            yield f"pod {name} was taken from its node: {_short(condition.get('message') or condition.get('reason'))}"
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield from _of_container(name, item)


def _of_container(pod: str, item: Mapping[str, Any]) -> Iterator[str]:
    state = item.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in _IMAGE:
        yield f"image {item.get('image')} of pod {pod} cannot be pulled: {reason}: {_short(waiting.get('message'))}"
    elif reason and reason not in _WAITING_IS_NORMAL:
        yield f"container {item['name']} of pod {pod} does not start: {reason}: {_short(waiting.get('message'))}"
    for ended in (state.get("terminated") or {}, (item.get("lastState") or {}).get("terminated") or {}):
        if ended.get("reason") == "OOMKilled":
            yield f"container {item['name']} of pod {pod} ran out of memory (OOMKilled)"


def _short(message: Any) -> str:
    text = " ".join(str(message or "no reason given").split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
