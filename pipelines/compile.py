"""Compiled packages: what `kfp.Client` uploads. The goldens lie in `pipelines/compiled`; a test compares them."""

from __future__ import annotations

from pathlib import Path

import yaml

from tidegate.adapters.kfp_arguments import Parameter
from tidegate.adapters.kfp_packages import parameters

COMPILED = Path(__file__).with_name("compiled")
PIPELINES = {
    "fine_tune": "pipelines.fine_tune:fine_tune",
    "retrain": "pipelines.fine_tune:retrain",
    "drift_check": "pipelines.drift_check:drift_check",
}


def compiled_parameters(pipeline: str) -> dict[str, Parameter]:
    """What a pipeline takes, by its name in KFP ('fine-tune'), without importing KFP."""
    path = COMPILED / f"{pipeline.replace('-', '_')}.yaml"
    return parameters(next(yaml.safe_load_all(path.read_text(encoding="utf-8"))))


def compile_all(folder: Path) -> list[Path]:
    """Compiles every pipeline to `<folder>/<name>.yaml` and returns the files."""
    from importlib import import_module  # noqa: PLC0415 - KFP takes seconds, and only compiling needs it

    from kfp import compiler  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, place in PIPELINES.items():
        module, _, function = place.partition(":")
        path = folder / f"{name}.yaml"
        compiler.Compiler().compile(getattr(import_module(module), function), str(path))
        written.append(path)
    return written
