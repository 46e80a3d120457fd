"""What the earlier steps left for a registration, read and checked."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.evaluate.inputs import adapter_folder, resolve_base, training_result
from components.register.spec import RegisterSpec
from serving.engines.adapter_files import adapter_digest
from tidegate import attestation
from tidegate.adapters import storage
from tidegate.adapters.base_model import ResolvedBase
from tidegate.domain.evaluation import Attestation, EvalReport
from tidegate.domain.manifest import DataManifest
from tidegate.domain.training import TrainingResult
from tidegate.errors import ContractBroken, GateFailed
from tidegate.prompt import PromptTemplate
from tidegate.settings import Settings


@dataclass(frozen=True, kw_only=True)
class RegisterInputs:
    """What the earlier steps left, read and checked."""

    manifest: DataManifest
    template: PromptTemplate
    report: EvalReport
    attestation: Attestation
    predictions: pd.DataFrame
    adapter: Path
    base: ResolvedBase
    training: TrainingResult | None


def read_inputs(spec: RegisterSpec, settings: Settings) -> RegisterInputs:
    """Reads them all.

    Raises:
        GateFailed: the report neither passed its gate nor carries an override.
        ContractBroken: the attestation does not hold, or the adapter is not the one that was evaluated.
    """
    report = EvalReport.model_validate_json(storage.read_text(storage.join(spec.evaluation_uri, "eval_report.json")))
    signed = Attestation.model_validate_json(storage.read_text(storage.join(spec.evaluation_uri, "attestation.json")))
    key = attestation.platform_key(settings.attestation_key_path, settings.profile)
    attestation.verify(report, signed, {attestation.key_id_of(key): key})
    if not report.gate.passed and report.override is None:
        raise GateFailed(
            f"the evaluation {spec.evaluation_uri} did not pass its gate: {'; '.join(report.gate.reasons)}",
            next_step="Mend the data or the training; or evaluate again with an explicit override.",
        )
    adapter_uri = adapter_folder(spec.adapter_uri)
    adapter = storage.local_path(adapter_uri, settings.cache)
    found = adapter_digest(adapter)
    if found != report.candidate:
        raise ContractBroken(
            f"adapter {spec.adapter_uri} has digest {found}, but {report.candidate} was evaluated",
            next_step="Register the adapter that was evaluated, or evaluate this one.",
        )
    return RegisterInputs(
        manifest=DataManifest.model_validate_json(storage.read_text(storage.join(spec.data_uri, "manifest.json"))),
        template=PromptTemplate.model_validate_json(storage.read_text(storage.join(spec.data_uri, "prompt.json"))),
        report=report,
        attestation=signed,
        predictions=pd.read_parquet(
            io.BytesIO(storage.read_bytes(storage.join(spec.evaluation_uri, "predictions.parquet")))
        ),
        adapter=adapter,
        base=resolve_base(spec.base, settings.cache),
        training=spec.training or training_result(adapter_uri),
    )
