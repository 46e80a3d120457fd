"""`<home>/platform.json`: what `tidegate up` remembers of the platform that it started, and where settings find it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import platformdirs
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from tidegate.errors import InvalidInput

PLATFORM_FILE = "platform.json"


def read_platform_file(home: Path) -> dict[str, Any]:
    """The content of `<home>/platform.json`; empty when there is no such file.

    Raises:
        InvalidInput: the file is not a JSON object.
    """
    path = home / PLATFORM_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} cannot be read as JSON: {error}",
            next_step="Run 'tidegate down', then 'tidegate up' writes it anew.",
        ) from None
    if not isinstance(values, dict):
        raise InvalidInput(
            f"{path} holds a {type(values).__name__}, not an object",
            next_step="Run 'tidegate down', then 'tidegate up' writes it anew.",
        )
    return values


def write_platform_file(home: Path, values: dict[str, Any]) -> None:
    """Replaces `<home>/platform.json` atomically: a reader sees the old content or the new one."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / PLATFORM_FILE
    part = path.with_name(f"{PLATFORM_FILE}.{os.getpid()}.part")
    part.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(path)


class PlatformFile(PydanticBaseSettingsSource):
    """The file as a source of settings; `home` comes from the sources above it."""

    def __init__(self, settings_cls: type[BaseSettings], *above: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._above = above

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pydantic-settings asks __call__ only

    def __call__(self) -> dict[str, Any]:
        home = next((value["home"] for source in self._above if (value := source()).get("home")), None)
        folder = Path(home) if home else platformdirs.user_state_path("tidegate", appauthor=False)
        values = read_platform_file(folder)
        return {name: value for name, value in values.items() if name in self.settings_cls.model_fields}
