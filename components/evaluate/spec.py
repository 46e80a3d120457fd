"""What the evaluation is asked and what it answers: JSON between the pipeline step and the compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt, StringConstraints, ValidationError

from components.evaluate.checks import GateSpec
from tidegate.domain.base import Contract
from tidegate.domain.evaluation import EvalReport
from tidegate.domain.training import BaseModelRef
from tidegate.errors import InvalidInput
from tidegate.prompt import GenerationDefaults

_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Override(Contract):
    """Who lets a version past a failed gate, and why. Recorded in the report, the ledger and the model card."""

    by: _Words
    reason: _Words


class Judgement(Contract):
    """What decides whether an adapter passes."""

    gate: GateSpec = GateSpec()
    override: Override | None = None


def judgement(gate: Mapping[str, Any], override_by: str, override_reason: str) -> dict[str, Any]:
    """A pipeline's parameters as fields of an `EvaluateSpec`; an empty gate leaves the default.

    Training asks, too, before it begins: a check that cannot be read must not cost a training.

    Raises:
        InvalidInput: names the parameter, its value and what is wrong with it.
    """
    override = {"by": override_by, "reason": override_reason} if override_by or override_reason else None
    fields = {**({"gate": dict(gate)} if gate else {}), "override": override}
    try:
        Judgement.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        of, *place = map(str, first["loc"])
        if of == "override":
            name, step = f"override_{'.'.join(place)}", "Say who lets it pass and why, or neither."
        else:
            name, step = ".".join((of, *place)), "docs/pipelines.md#gate lists the checks and their fields."
        raise InvalidInput(f"parameter {name} = {first['input']!r:.200}: {first['msg']}", next_step=step) from None
    return fields


class EvaluateSpec(Judgement):
    """One evaluation of an adapter on the test split."""

    data_uri: str = Field(description="folder that the features step wrote: test.parquet, prompt.json, manifest.json")
    adapter_uri: str = Field(description="folder of the fine-tune step, or of an adapter itself")
    base: BaseModelRef | str = Field(description="with its digest; or an address alone, whose digest is then taken")
    generation: GenerationDefaults | None = Field(
        default=None, description="None: greedy, and room for the longest label of the prompt template"
    )
    champion: str | None = Field(
        default=None,
        description="version to compare with, 'name/version'; or 'name@alias', where a missing alias means none",
    )
    max_rows: PositiveInt = Field(default=160, description="test rows above this are sampled, stratified by label")
    seed: int = 0
    batch_size: PositiveInt = 16
    out_uri: str = Field(description="folder that receives the report, its attestation and the predictions")


class Confusion(Contract):
    """Counts of answers: rows are true labels, columns are answers, both in the order of `classes`."""

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


class EvaluateResult(Contract):
    """Where the evaluation lies, and what a reader wants at once."""

    uri: str = Field(description="the folder")
    report_uri: str
    attestation_uri: str
    predictions_uri: str
    base: BaseModelRef
    report: EvalReport
    confusion: Confusion
    markdown: str
    html: str
