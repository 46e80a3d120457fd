"""The custom resource definitions, from the models of `tidegate/domain`.

A definition is a structural OpenAPI schema: what pydantic says of fields, in the form that an API server takes. Rules
over several fields come from `crd_rules.py`. An object's fields have their own defaults, too, so `engine: {}` and no
`engine` mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from crd_rules import COLUMNS, LIST_KEYS, MODEL_RULES, SELECTABLE, TYPE_RULES
from pydantic import AfterValidator, BaseModel
from pydantic.alias_generators import to_camel

from serving.rollout.state import RolloutState
from tidegate.domain.kinds import CLUSTER_KINDS, VERSION, Kind
from tidegate.domain.resource_base import GROUP, Resource

_HEADER = "# Generated from tidegate/domain by `make docs`; do not edit.\n"
_KEPT = ("type", "format", "pattern", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_KEPT_BY_INSTALLERS = {
    "argocd.argoproj.io/sync-options": "Delete=false,Prune=false",
    "helm.sh/resource-policy": "keep",
}
"""A definition that goes takes every object of its kind along: neither Helm nor Argo CD removes one."""
_STATUS_OF = "What the operator says of it."


def definitions(folder: Path) -> dict[Path, str]:
    """The file of each kind, and its text."""
    return {
        folder / f"{GROUP}_{kind.plural}.yaml": _HEADER + _yaml(definition(kind)) for kind in CLUSTER_KINDS.values()
    }


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": COLUMNS[kind.name],
        "schema": {"openAPIV3Schema": _root(kind)},
    }
    if kind.status is not None:
        version["subresources"] = {"status": {}}
    if kind.name in SELECTABLE:
        version["selectableFields"] = [{"jsonPath": path} for path in SELECTABLE[kind.name]]
    names = {
        "categories": ["tidegate"],
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "shortNames": [kind.short],
        "singular": kind.name.lower(),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"annotations": _KEPT_BY_INSTALLERS, "name": f"{kind.plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _root(kind: Kind) -> dict[str, Any]:
    schema = _Schemas(kind.model).of(kind.model)
    properties = schema["properties"]
    name = properties["metadata"]["properties"]["name"]
    root: dict[str, Any] = {
        "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"Always {kind.name}."},
        # An API server lets a definition restrict the name and nothing else of the metadata.
        "metadata": {"type": "object", "properties": {"name": {key: name[key] for key in _KEPT if key in name}}},
        "spec": properties["spec"],
    }
    if kind.status is not None:
        root["status"] = _Schemas(kind.status).of(kind.status)
        root["status"]["description"] = f"{_STATUS_OF}\n\n{root['status']['description']}"
    if "state" in root.get("status", {}).get("properties", {}):
        described = root["status"]["properties"]["state"]["description"]
        root["status"]["properties"]["state"] = _state() | {"description": described}
    return {**schema, "properties": root, "required": ["spec"]}


class _Schemas:
    """Structural schemas of a model and of all that it holds."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._definitions = model.model_json_schema().get("$defs", {})
        self._models = {found.__name__: found for found in _models(model)}
        _refuse_unruled(self._models.values())

    def of(self, model: type[BaseModel]) -> dict[str, Any]:
        schema = {**model.model_json_schema(), "$defs": None}
        return self._object(schema, model)

    def _object(self, schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
        properties = {}
        for name, field in model.model_fields.items():
            key = field.alias or name
            properties[key] = self._field(schema["properties"][key], field)
        found: dict[str, Any] = {"type": "object", "description": _sentence(schema["description"])}
        found["properties"] = properties
        if schema.get("required"):
            found["required"] = schema["required"]
        if model.__name__ in MODEL_RULES:
            found["x-kubernetes-validations"] = MODEL_RULES[model.__name__]
        return found

    def _field(self, schema: dict[str, Any], field: Any) -> dict[str, Any]:
        found = self._value(schema)
        rules = [rule for name in _validators(field) for rule in TYPE_RULES[name]]
        if rules:
            found["x-kubernetes-validations"] = rules
        parts = [
            schema.get("description"),
            found.get("description"),
        ]  # `kubectl explain` adds a list's items' by itself
        text = "\n\n".join(_sentence(part) for part in dict.fromkeys(parts) if part)
        default = schema.get("default")
        if isinstance(default, dict):  # whole, though nested defaults would fill it in: its rules are tried on it
            default = {key: value for key, value in default.items() if value is not None}
        ordered = {"description": text} if text else {}
        ordered |= {"default": default} if default is not None else {}
        return ordered | {key: value for key, value in found.items() if key != "description"}

    def _value(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "anyOf" in schema:  # Optional: Kubernetes leaves out what is not set
            (schema,) = [part for part in schema["anyOf"] if part.get("type") != "null"]
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self._object(self._definitions[name], self._models[name])
        if "const" in schema:
            return {"type": schema["type"], "enum": [schema["const"]]}
        found = {key: schema[key] for key in _KEPT if key in schema}
        if schema["type"] == "integer":
            return _integer(found)
        if schema["type"] == "array":
            found["items"] = self._value(schema["items"])
            found |= _list_type(schema["items"])
        elif schema["type"] == "object":
            found["additionalProperties"] = (
                {"type": "string"}
                if schema["additionalProperties"] is True
                else self._value(schema["additionalProperties"])
            )
        elif schema["type"] == "number":
            raise TypeError(f"a float in {schema}: use a decimal text")
        return found


def _integer(schema: dict[str, Any]) -> dict[str, Any]:
    largest = schema.get("maximum", _INT64)
    if largest >= _INT64:
        schema.pop("maximum", None)  # a bound is a float there, and this one would be rounded up
    kind = "int32" if largest <= _INT32 else "int64"
    return {"type": "integer", "format": kind, **{key: schema[key] for key in schema if key != "type"}}


def _list_type(items: dict[str, Any]) -> dict[str, Any]:
    key = LIST_KEYS.get(items.get("$ref", "").rpartition("/")[2])
    if key is None:
        return {"x-kubernetes-list-type": "atomic"}
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


# --- the controller's state -----------------------------------------------------------------------------------------


def _state() -> dict[str, Any]:
    """What `tidegate/kube_codec.py` writes of a RolloutState: types and descriptions, no rule.

    It is for the controller alone, which validates it when it reads; a rule here could only keep it from writing. A
    newer controller's fields are kept though an older definition is installed.
    """
    schema = RolloutState.model_json_schema()
    return _loose(schema, schema["$defs"])


def _loose(schema: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        (inner,) = [part for part in schema["anyOf"] if part.get("type") != "null"]
        schema = {**inner, **{key: schema[key] for key in ("description",) if key in schema}}
    if "$ref" in schema:
        schema = {**known[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    kind = {"number": "string"}.get(schema["type"], schema["type"])
    found: dict[str, Any] = {"type": kind}
    if schema.get("description"):
        found["description"] = _sentence(schema["description"])
    if kind == "integer":
        found["format"] = "int64"
    elif kind == "array":
        found["items"] = _loose(schema["items"], known)
        found["x-kubernetes-list-type"] = "atomic"
    elif kind == "object" and "properties" in schema:
        found["properties"] = {to_camel(name): _loose(part, known) for name, part in schema["properties"].items()}
        found["x-kubernetes-preserve-unknown-fields"] = True
    elif kind == "object":
        found["additionalProperties"] = _loose(schema["additionalProperties"], known)
    elif "format" in schema:
        found["format"] = schema["format"]
    return found


# --- models and validators ------------------------------------------------------------------------------------------


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _models(part)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _validators(field: Any) -> Iterator[str]:
    """Names of the functions that validate a field's own type, those of times left out."""
    for part in (*field.metadata, *_parts(field.annotation)):
        if isinstance(part, AfterValidator) and part.func.__name__ != "_to_utc":
            yield part.func.__name__


def _refuse_unruled(models: Any) -> None:
    for model in models:
        if not issubclass(model, Resource):
            raise TypeError(f"{model.__name__} is no Resource: its fields are not camelCase")
        for name, validator in model.__pydantic_decorators__.model_validators.items():
            if validator.info.mode == "after" and model.__name__ not in MODEL_RULES:
                raise TypeError(f"{model.__name__}.{name} has no rule in hack/crd_rules.py")
        for field in model.model_fields.values():
            for name in _validators(field):
                if name not in TYPE_RULES:
                    raise TypeError(f"{name} of {model.__name__} has no rule in hack/crd_rules.py")


# --- text -----------------------------------------------------------------------------------------------------------


def _sentence(text: str) -> str:
    """Paragraphs without the source's line breaks; a lower-case fragment becomes a sentence."""
    paragraphs = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    head = paragraphs[0]
    first = head.split(maxsplit=1)[0].rstrip(",:;")
    if first.isalpha() and first.islower():
        head = head[0].upper() + head[1:]
    paragraphs[0] = head if head[-1] in ".!?…" else f"{head}."
    return "\n\n".join(paragraphs)


class _Dumper(yaml.SafeDumper):
    """No anchors: a rule that several kinds share is written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
