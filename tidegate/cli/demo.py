"""`tidegate demo`: the whole loop on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.output import console
from tidegate.errors import InvalidInput

if TYPE_CHECKING:
    from tidegate.local.demo.story import Story


def command(
    data: Annotated[
        Path | None, typer.Option(help="Your own messages: CSV, JSONL or Parquet. Default: generated ones.")
    ] = None,
    text: Annotated[str, typer.Option(help="With --data: the column with the message.")] = "text",
    label: Annotated[str, typer.Option(help="With --data: the column with the intent.")] = "label",
    group: Annotated[str | None, typer.Option(help="With --data: the column with the customer; else invented.")] = None,
    event_time: Annotated[
        str | None, typer.Option(help="With --data: the column with the time; else invented.")
    ] = None,
    banking77: Annotated[
        bool, typer.Option("--banking77", help="Banking77, from the folder that TIDEGATE_BANKING77 names.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of data, training and traffic.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running; `tidegate down` ends it.")] = False,
) -> None:
    """Run the whole loop on this machine: data, training, gate, serving, drift, retraining, canary, rollback.

    It trains a small real language model three times: a first version; one that a drift alert starts, which is rolled
    out as a canary and promoted; and a bad one on corrupted labels, which is let past the gate on purpose and which
    the rollout catches. Ctrl-C at any time stops everything, also a platform that ran before. Running it again starts a
    new story (intent-assistant-2 and so on) on the same state, and takes the deployments of earlier demos away.
    """
    if data is not None and banking77:
        raise InvalidInput("--data and --banking77 exclude each other", next_step="Give one of them.")
    if data is not None and not data.is_file():
        raise InvalidInput(f"--data {data} is no file", next_step="Name a CSV, JSONL or Parquet file.")

    def story(folder: Path) -> Story:
        from components.datasets.readers import ColumnMapping  # noqa: PLC0415 - not needed for --help
        from tidegate.local.demo import story as stories  # noqa: PLC0415

        if data is not None:
            mapping = ColumnMapping(text=text, label=label, group=group, event_time=event_time)
            return stories.from_file(seed, folder, data, mapping)
        return stories.real(seed, folder) if banking77 else stories.generated(seed, folder)

    from tidegate.local.demo.tell import tell  # noqa: PLC0415

    tell(story, seed=seed, keep=keep, console=console())
