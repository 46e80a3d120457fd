"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`problem`: something will not work; `warning`: it works, or heals by itself. `mend` says what to do."""

    check: str
    state: State
    message: str
    mend: str = ""
