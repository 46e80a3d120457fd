"""Evaluates an adapter on the test split, compares it on the same rows, lets the gate decide, and signs the report.

Writes `eval_report.json`, `attestation.json`, `predictions.parquet`, `report.md` and `report.html` to `out_uri`, also
when the gate fails: the report of a refused adapter is what its author needs. Then `GateFailed` ends the step, unless
an explicit override was given.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from components._payload import parse_payload
from components.evaluate.gate import judge
from components.evaluate.inference import (
    Asked,
    ask,
    base_key,
    for_labels,
    generation_device,
    keep_answers,
    load_answers,
    load_generator,
    prompts,
    within_memory,
)
from components.evaluate.inputs import adapter_folder, resolve_base
from components.evaluate.metrics import Answers, compare, confusion, label_slices, measure
from components.evaluate.report import to_html, to_markdown
from components.evaluate.sampling import stratified_sample
from components.evaluate.spec import Confusion, EvaluateResult, EvaluateSpec
from serving.engines.adapter_files import adapter_digest, adapter_rank
from tidegate import attestation
from tidegate.adapters import storage
from tidegate.adapters.base_model import ResolvedBase
from tidegate.clock import Clock, SystemClock
from tidegate.domain.evaluation import EvalReport, GateOverride
from tidegate.domain.training import BaseModelRef
from tidegate.domain.version import ModelVersion
from tidegate.errors import ContractBroken, GateFailed, InvalidInput
from tidegate.ids import digest_bytes
from tidegate.ports import Progress
from tidegate.prompt import GenerationDefaults, PromptTemplate
from tidegate.settings import Settings, load_settings

if TYPE_CHECKING:
    import torch

    from serving.engines.generator import AdapterGenerator

CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True)
class _TestSet:
    rows: pd.DataFrame
    digest: str
    template: PromptTemplate


@dataclass(frozen=True)
class _Models:
    generator: AdapterGenerator
    adapter: Path
    base: ResolvedBase
    champion: ModelVersion | None
    rank: int
    device: torch.device


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The job: `EvaluateSpec` in, `EvaluateResult` out.

    Raises:
        GateFailed: a check of the gate failed and no override was given; the reasons are in the problem.
        InvalidInput, NotFound, ContractBroken: the data, the base, the adapter or the champion cannot be used.
    """
    spec = parse_payload(EvaluateSpec, payload)
    return evaluate(spec, load_settings(), SystemClock(), progress).model_dump(mode="json")


def evaluate(spec: EvaluateSpec, settings: Settings, clock: Clock, progress: Progress) -> EvaluateResult:
    """Asks, measures, judges, signs and writes; see the module."""
    test = _read_test_set(spec)
    adapter = storage.local_path(adapter_folder(spec.adapter_uri), settings.cache)
    base_model = resolve_base(spec.base, settings.cache)
    champion = _champion(spec, settings)
    device, where = generation_device(settings.training.gpus)
    told = f"evaluating {len(test.rows)} rows of {test.rows['label'].nunique()} labels on {where}"
    progress(told, {"rows": len(test.rows)})
    rank = max(adapter_rank(adapter), champion.adapter.rank if champion else 0)
    with within_memory("the evaluation", "Lower batch_size, or evaluate on a GPU with more memory."):
        generator = load_generator(base_model.folder, rank, device, spec.batch_size)
        generation = spec.generation or for_labels(test.template.labels, generator)
        models = _Models(generator, adapter, base_model, champion, rank, device)
        candidate, base, best = _ask_all(spec, settings, models, test, generation, progress)

    answers = _answers(test, candidate, spec.seed)
    comparisons = [compare(answers, _answers(test, base, spec.seed), name="base")]
    if champion is not None and best is not None:
        comparisons.append(compare(answers, _answers(test, best, spec.seed), name=champion.key))
    metrics, slices = measure(answers), label_slices(answers)
    verdict = judge(spec.gate, metrics=metrics, slices=slices, comparisons=comparisons)
    override = None
    if spec.override is not None and not verdict.passed:
        override = GateOverride(by=spec.override.by, reason=spec.override.reason, at=clock.now())
    report = EvalReport(
        candidate=adapter_digest(adapter),
        data_digest=test.digest,
        generation=generation,
        metrics=metrics,
        slices=slices,
        comparisons=tuple(comparisons),
        gate=verdict,
        override=override,
        created_at=clock.now(),
    )
    files = _render(report, answers, _predictions(test, answers, base, best), settings, clock)
    result = _write(spec, base_model.ref, report, answers, files)
    for check in verdict.checks:
        progress(f"gate {'passed' if check.passed else 'FAILED'}: {check.name}: {check.reason}", {})
    if override is not None:
        _record_override(settings, clock, report, override)
        progress(f"gate OVERRIDDEN by {override.by}: {override.reason}", {})
    elif not verdict.passed:
        raise GateFailed(
            f"the gate refused the adapter {spec.adapter_uri}: {'; '.join(verdict.reasons)}",
            next_step=f"Read {result.report_uri}; then train longer, mend the data or, knowingly, give an override.",
        )
    return result


def _read_test_set(spec: EvaluateSpec) -> _TestSet:
    uri = storage.join(spec.data_uri, "test.parquet")
    content = storage.read_bytes(uri)
    rows = pd.read_parquet(io.BytesIO(content))
    missing = [column for column in ("id", "text", "label", "group") if column not in rows.columns]
    if missing:
        raise ContractBroken(f"{uri} lacks the columns {', '.join(missing)}", next_step="Run the prepare step again.")
    template = PromptTemplate.model_validate_json(storage.read_text(storage.join(spec.data_uri, "prompt.json")))
    if not template.labels:
        raise InvalidInput(
            f"the prompt template of {spec.data_uri} has no labels, so no answer could be invalid",
            next_step="Evaluate a template with a closed set of labels.",
        )
    sample = stratified_sample(rows, max_rows=spec.max_rows, seed=spec.seed).reset_index(drop=True)
    return _TestSet(sample, digest_bytes(content), template)


def _champion(spec: EvaluateSpec, settings: Settings) -> ModelVersion | None:
    if not spec.champion:
        return None
    from tidegate.adapters.mlflow_registry import MlflowRegistry  # noqa: PLC0415  only a comparison needs it

    registry = MlflowRegistry(settings.mlflow_uri, cache=settings.cache)
    name, at, alias = spec.champion.partition("@")
    if at:
        return registry.by_alias(name, alias)
    name, slash, version = spec.champion.rpartition("/")
    if not slash:
        raise InvalidInput(
            f"champion {spec.champion!r} is neither 'name/version' nor 'name@alias'",
            next_step="Name it like banking-intent/3 or banking-intent@champion.",
        )
    return registry.get(name, version)


def _ask_all(
    spec: EvaluateSpec,
    settings: Settings,
    models: _Models,
    test: _TestSet,
    generation: GenerationDefaults,
    progress: Progress,
) -> tuple[Asked, Asked, Asked | None]:
    """Answers of the candidate, of the untuned base (kept ones where there are) and of the champion."""
    generator, champion, base_digest = models.generator, models.champion, models.base.ref.digest
    generator.load(CANDIDATE, models.adapter)
    conversations = prompts(test.rows, test.template)

    def told(who: str) -> Callable[[int], None]:
        of = len(conversations)
        return lambda done: progress(f"{who}: {done} of {of} answers", {"done": done, "of": of})

    candidate = ask(
        generator, CANDIDATE, conversations, generation, batch_size=spec.batch_size, report=told("candidate")
    )
    best = None
    if champion is not None:
        other = generator
        if champion.base.digest != base_digest:
            folder = resolve_base(champion.base, settings.cache).folder
            other = load_generator(folder, models.rank, models.device, spec.batch_size)
        other.load(CHAMPION, storage.local_path(champion.adapter.uri, settings.cache), champion.adapter.digest)
        best = ask(
            other,
            CHAMPION,
            prompts(test.rows, champion.prompt),
            champion.generation,
            batch_size=spec.batch_size,
            report=told(f"champion {champion.key}"),
        )
    key = base_key(base_digest, conversations, generation)
    kept = load_answers(settings.cache, key)
    if kept is not None and len(kept) == len(conversations):
        progress("base: answers taken from the cache", {"done": len(kept), "of": len(kept)})
        return candidate, Asked(kept, [0.0] * len(kept)), best
    base = ask(generator, None, conversations, generation, batch_size=spec.batch_size, report=told("base"))
    keep_answers(settings.cache, key, base.answers)
    return candidate, base, best


def _answers(test: _TestSet, asked: Asked, seed: int) -> Answers:
    return Answers(
        labels=test.rows["label"].tolist(),
        predictions=asked.answers,
        groups=test.rows["group"].astype(str).tolist(),
        valid=test.template.labels,
        seconds=asked.seconds,
        seed=seed,
    )


def _predictions(test: _TestSet, answers: Answers, base: Asked, best: Asked | None) -> pd.DataFrame:
    """id, text, label, group, the features, prediction, correct, seconds, base_prediction, champion_prediction."""
    columns = ["id", "text", "label", "group", *(f for f in test.template.features if f in test.rows.columns)]
    return test.rows[columns].assign(
        prediction=list(answers.predictions),
        correct=answers.correct,
        seconds=list(answers.seconds),
        base_prediction=base.answers,
        champion_prediction=best.answers if best is not None else None,
    )


def _render(
    report: EvalReport, answers: Answers, predictions: pd.DataFrame, settings: Settings, clock: Clock
) -> dict[str, bytes]:
    """The files of an evaluation by name, the signed ones last."""
    key = attestation.platform_key(settings.attestation_key_path, settings.profile)
    signed = attestation.sign(report, key, attestation.key_id_of(key), clock.now())
    table = io.BytesIO()
    predictions.to_parquet(table, index=False)
    return {
        "predictions.parquet": table.getvalue(),
        "report.md": to_markdown(report).encode(),
        "report.html": to_html(report, *confusion(answers)).encode(),
        "eval_report.json": report.model_dump_json(indent=2).encode(),
        "attestation.json": signed.model_dump_json(indent=2).encode(),
    }


def _write(
    spec: EvaluateSpec, base: BaseModelRef, report: EvalReport, answers: Answers, files: Mapping[str, bytes]
) -> EvaluateResult:
    for name, content in files.items():
        storage.write_bytes(storage.join(spec.out_uri, name), content)
    classes, matrix = confusion(answers)
    return EvaluateResult(
        uri=spec.out_uri,
        report_uri=storage.join(spec.out_uri, "eval_report.json"),
        attestation_uri=storage.join(spec.out_uri, "attestation.json"),
        predictions_uri=storage.join(spec.out_uri, "predictions.parquet"),
        base=base,
        report=report,
        confusion=Confusion(classes=tuple(classes), matrix=tuple(tuple(row) for row in matrix)),
        markdown=files["report.md"].decode(),
        html=files["report.html"].decode(),
    )


def _record_override(settings: Settings, clock: Clock, report: EvalReport, override: GateOverride) -> None:
    """Writes down who let which adapter pass, why, and past which reasons."""
    from tidegate.db import Database  # noqa: PLC0415  sqlalchemy takes half a second
    from tidegate.ledger import Ledger  # noqa: PLC0415

    ledger = Ledger(Database.open(settings.database_url, migrate=True), clock)
    payload = {
        "by": override.by,
        "reason": override.reason,
        "failed": list(report.gate.reasons),
        "data_digest": report.data_digest,
    }
    told = ledger.entries(kind="gate.overridden", subject=report.candidate)
    if not any(entry.payload == payload for entry in told):  # a step that runs again overrides nothing anew
        ledger.append("gate.overridden", report.candidate, payload, actor=override.by)
