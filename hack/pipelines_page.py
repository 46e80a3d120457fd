"""The generated parts of docs/pipelines.md: fields of a site file, parameters of every pipeline, checks of the gate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

_PART = "<!-- generated: {name} -->\n"
_END = "<!-- end -->"
_TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "whole number",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "true or false",
    "STRUCT": "mapping",
    "LIST": "list",
}


def pipelines_page(path: Path, packages: Path) -> str:
    """The page with its generated parts as the code says them; `packages` is the folder of compiled pipelines."""
    text = path.read_text(encoding="utf-8")
    for name, lines in (("site", _site()), ("parameters", _parameters(packages)), ("gate", _gate())):
        head = _PART.format(name=name)
        pattern = re.compile(re.escape(head) + r".*?" + re.escape(_END), re.DOTALL)
        body = head + "\n" + "\n".join(lines) + "\n\n" + _END
        text, count = pattern.subn(lambda _, body=body: body, text)
        if count != 1:
            raise SystemExit(f"{path}: there must be one part {head.strip()} … {_END}")
    return text


def _site() -> list[str]:
    from pipelines.site import Site

    return ["| field | default | what |", "|---|---|---|", *_fields(Site, "")]


def _fields(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        inner, path = _model(field.annotation), f"{prefix}{field.alias or name}"
        if name == "tolerations":
            rows.append(f"| `{path}` | | as in a pod's spec: key, operator, value, effect |")
            continue
        if inner is not None:
            if name == "steps":
                rows.append(f"| `{path}.<step>.…` | | the same fields as `defaults`, for one step |")
                continue
            rows += _fields(inner, f"{path}[]." if name == "claims" else f"{path}.")
            continue
        default = field.get_default(call_default_factory=True)
        shown = "" if field.is_required() or default in (None, "", {}, ()) else f"`{json.dumps(default)}`"
        rows.append(f"| `{path}` | {shown} | {_cell(field.description or '')} |")
    return rows


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone or in a collection."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model(item) for item in getattr(annotation, "__args__", ()))
    return next((item for item in inner if item is not None), None)


def _parameters(packages: Path) -> list[str]:
    from pipelines.compile import PIPELINES

    lines: list[str] = []
    for name in PIPELINES:
        spec = next(yaml.safe_load_all((packages / f"{name}.yaml").read_text(encoding="utf-8")))
        found = spec["root"]["inputDefinitions"]["parameters"]
        lines += [
            *([""] if lines else []),
            f"### {spec['pipelineInfo']['name']}",
            "",
            " ".join(spec["pipelineInfo"]["description"].split()),
            "",
            "| parameter | type | default | what |",
            "|---|---|---|---|",
        ]
        for key, item in sorted(found.items(), key=lambda pair: (bool(pair[1].get("isOptional")), pair[0])):
            kind = item["parameterType"]
            default = f"`{_plain(item['defaultValue'], kind)}`" if item.get("isOptional") else "must be given"
            lines.append(f"| `{key}` | {_TYPES[kind]} | {default} | {_cell(item['description'])} |")
    return lines


def _gate() -> list[str]:
    """A table of the checks, and the default in the order in which it is judged."""
    from components.evaluate.checks import GateSpec

    kinds = GateSpec.model_json_schema()["$defs"]
    rows: list[str] = []
    for kind in sorted(kinds.values(), key=lambda item: str(item["properties"]["check"]["const"])):
        about = _cell(kind["description"])
        for field, item in kind["properties"].items():
            if field == "check":
                continue
            default = f"`{json.dumps(item['default'])}`" if "default" in item else "must be given"
            allowed = f" ({', '.join(item['enum'])})" if "enum" in item else ""
            first = f"| `{kind['properties']['check']['const']}` | {about} " if about else "| | "
            rows.append(f"{first}| `{field}`{allowed} | {default} | {_cell(item['description'])} |")
            about = ""
    checks = [{"check": check.check, **check.model_dump(mode="json")} for check in GateSpec().checks]
    return [
        "| check | passes when | field | default | what |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "The default, all of which must pass:",
        "",
        "```json",
        '{"checks": [',
        ",\n".join(f"  {json.dumps(check)}" for check in checks),
        "]}",
        "```",
    ]


def _plain(value: Any, kind: str) -> str:
    return json.dumps(int(value) if kind == "NUMBER_INTEGER" else value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
