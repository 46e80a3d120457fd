"""The code and the pins that travel with a version."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import tidegate

# What components/register/model.py imports, and what that imports: the prompt, the tokens, their contracts.
SHIPPED = (
    "__init__.py",
    "domain/__init__.py",
    "domain/base.py",
    "domain/example.py",
    "prompt.py",
    "tokens.py",
)
# Distributions that the model file imports. Pinned as installed: what was verified is what is written down.
PINNED = ("mlflow", "numpy", "pandas", "peft", "pydantic", "safetensors", "torch", "transformers")


def ship_code(target: Path) -> None:
    """Copies the shipped files of the running tidegate to `target`/tidegate."""
    source = Path(tidegate.__file__).parent
    for name in SHIPPED:
        place = target / "tidegate" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, place)


def requirements() -> list[str]:
    """Exact pins, without local version labels (torch 2.13.0+cpu is on no index under that name)."""
    return [f"{name}=={version(name).split('+', 1)[0]}" for name in PINNED]
