"""What the demo says while it works: stages with their seconds, a line for every decision, progress where it moves."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.status import Status


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """How long a stage took; `part_of` names the stage around it."""

    name: str
    seconds: float
    part_of: str | None = None


@dataclass
class Narrator:
    """Writes to a console; on a terminal a moving line shows what is going on right now."""

    console: Console
    stages: list[StageTime] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)
    _open: list[str] = field(default_factory=list)
    _status: Status | None = None

    @property
    def seconds(self) -> float:
        """Since the narrator was made."""
        return time.monotonic() - self._since

    @contextlib.contextmanager
    def stage(self, number: int, title: str) -> Iterator[None]:
        """One of the demo's stages, timed."""
        self.console.print()
        self.console.rule(f"[bold]{number}. {escape(title)}", align="left")
        with self._timed(title):
            if not self.console.is_terminal:
                yield
                return
            with self.console.status("") as status:
                self._status = status
                try:
                    yield
                finally:
                    self._status = None

    def part(self, name: str, seconds: float) -> None:
        """A timed part of the current stage, such as a pipeline's step."""
        self.stages.append(StageTime(name=name, seconds=seconds, part_of=self._open[-1] if self._open else None))

    def say(self, text: str) -> None:
        """A line that stays: what happened, or was decided."""
        self.console.print(f"[dim]{self._clock()}[/dim]  {escape(text)}")

    def decided(self, text: str) -> None:
        """A decision and its reason."""
        self.console.print(f"[dim]{self._clock()}[/dim]  [bold cyan]decided[/bold cyan]  {escape(text)}")

    def moving(self, text: str) -> None:
        """What is going on right now; only a terminal shows it."""
        if self._status is not None:
            self._status.update(f"[dim]{self._clock()}[/dim]  {escape(text)}")

    def _clock(self) -> str:
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"{minutes:02d}:{seconds:02d}"

    @contextlib.contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        since = time.monotonic()
        self._open.append(title)
        try:
            yield
        finally:
            self._open.pop()
            self.stages.append(StageTime(name=title, seconds=time.monotonic() - since))
