"""The features step's result as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.features.spec import FeaturesResult


def markdown(result: Mapping[str, Any]) -> str:
    """The prompt template, its features, and whether they were invented."""
    answer = FeaturesResult.model_validate(result)
    origin = "invented, independent of the label" if answer.synthetic else "columns of the data"
    return "\n".join(
        [
            "# Features",
            "",
            "```",
            answer.prompt.system,
            "```",
            "",
            "| feature | reference |",
            "|---|---|",
            *(
                f"| {name} | `{reference}` |"
                for name, reference in zip(answer.prompt.features, answer.prompt.feature_views, strict=True)
            ),
            "",
            f"- origin: {origin}",
            f"- customers written by this run: {answer.customers}",
            f"- rows of history in the view: {answer.history_rows}",
            f"- labels: {', '.join(answer.prompt.labels)}",
            "",
        ]
    )
