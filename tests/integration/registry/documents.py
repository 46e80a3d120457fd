"""A valid ModelVersion without a model behind it, for tests of the registry alone."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate import attestation
from tidegate.adapters.mlflow_registry import UNASSIGNED
from tidegate.domain.evaluation import EvalReport, GateVerdict, Metric
from tidegate.domain.training import BaseModelRef
from tidegate.domain.version import AdapterInfo, Lineage, ModelVersion
from tidegate.ids import digest_bytes
from tidegate.prompt import GenerationDefaults, PromptTemplate

DIGEST = digest_bytes(b"x")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def version_document(*, name: str, adapter_uri: str) -> ModelVersion:
    report = EvalReport(
        candidate=DIGEST,
        data_digest=DIGEST,
        metrics=(Metric(name="exact_match", value=0.9, n=100),),
        gate=GateVerdict(passed=True, checks=()),
        created_at=NOW,
    )
    return ModelVersion(
        name=name,
        version=UNASSIGNED,
        base=BaseModelRef(uri="/nowhere", digest=DIGEST, name="base"),
        adapter=AdapterInfo(uri=adapter_uri, digest=DIGEST, rank=4, target_modules=("q_proj",), size_bytes=1),
        prompt=PromptTemplate(system="Bank intent.", labels=("a", "b")),
        generation=GenerationDefaults(),
        tokenizer_digest=DIGEST,
        report=report,
        attestation=attestation.sign(report, b"k" * 32, "test", NOW),
        lineage=Lineage(data_digest=DIGEST, commit="0" * 40, pipeline_run="run"),
        reference_uri=f"{adapter_uri}/reference.parquet",
        created_at=NOW,
    )
