"""docs/resources.md: every field of every kind, and what `kubectl get` shows of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crd_rules import COLUMNS

from tidegate.domain.kinds import CLUSTER_KINDS, Kind
from tidegate.domain.resources import KINDS

_HEAD = """\
# Resources (`tidegate.dev/v1alpha1`)

Generated from `tidegate/domain` by `make docs`. People write ModelRuntime and ModelDeployment: `tidegate apply` takes
these manifests on one machine, `kubectl apply` on a cluster (definitions: `helm/tidegate/files/crds`). They create a
RolloutAction to ask something of a rollout. The operator makes the rest, and every status. Decimals are texts,
durations are whole seconds. Examples are in `examples/local/`.

An API server refuses, beside fields that do not fit:

- another runtime or registered model in a ModelDeployment while a version serves;
- any change of a ModelRollout's or a RolloutAction's spec, and of an answer once given;
- a ModelRouting that changes without a higher epoch;
- whatever an operator writes under an older lease epoch than the last (`leaderEpoch` never falls);
- a RolloutAction whose `requestedBy` is not who creates it, and a ModelDeployment's annotation
  `tidegate.dev/requested-by` that names somebody else (`helm/tidegate/files/admission.yaml`).
"""


def resources_reference() -> str:
    """The page."""
    lines = [_HEAD.rstrip()]
    for kind in CLUSTER_KINDS.values():
        lines += ["", f"## {kind.name}", "", *_paragraphs(kind.model.__doc__ or ""), "", *_on_a_cluster(kind), ""]
        lines += [
            "| field | type | default | what |",
            "|---|---|---|---|",
            *_fields(kind.model.model_json_schema(), ""),
        ]
        if kind.status is not None:
            lines += [*_fields(kind.status.model_json_schema(), "status.")]
    return "\n".join(lines) + "\n"


def _on_a_cluster(kind: Kind) -> list[str]:
    columns = COLUMNS[kind.name]
    narrow = [column["name"].upper() for column in columns if "priority" not in column]
    wide = [column["name"].upper() for column in columns if "priority" in column]
    shown = f"`kubectl get {kind.short}` shows {', '.join(narrow)}"
    shown += f"; `-o wide` adds {', '.join(wide)}." if wide else "."
    return [shown] if kind.name in KINDS else [f"On a cluster only. {shown}"]


def _fields(schema: Any, prefix: str, definitions: Any = None) -> Iterator[str]:
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    for name, field in schema["properties"].items():
        if prefix == "" and name in {"apiVersion", "kind"}:
            continue
        parts = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
        inner = {**field, **parts[0]}
        many = inner.get("type") == "array"
        target = (inner["items"] if many else inner).get("$ref", "").rpartition("/")[2]
        path = f"{prefix}{name}{'[]' if many else ''}"
        nested = definitions.get(target)
        what = field.get("description") or (nested or {}).get("description", "")
        default = field.get("default")
        shown = "required" if name in schema.get("required", ()) else f"`{default}`" if _plain(default) else ""
        yield f"| `{path}` | {'' if nested else _type(inner)} | {shown} | {_cell(what)} |"
        if nested:
            yield from _fields(nested, f"{path}.", definitions)


def _type(schema: Any) -> str:
    if "enum" in schema:
        return "/".join(map(str, schema["enum"]))
    kind = schema["items"]["type"] if schema.get("type") == "array" else schema.get("type", "object")
    return {"date-time": "time"}.get(schema.get("format", ""), str(kind))


def _plain(default: Any) -> bool:
    return default is not None and default != "" and not isinstance(default, dict | list)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
