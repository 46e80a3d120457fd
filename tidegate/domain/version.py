"""Version: everything that moves together when a model is rolled out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tidegate.domain.base import Contract, Digest, UtcTime
from tidegate.domain.evaluation import Attestation, EvalReport
from tidegate.domain.training import BaseModelRef
from tidegate.prompt import GenerationDefaults, PromptTemplate


class AdapterInfo(Contract):
    uri: str = Field(description="folder with adapter_config.json and adapter_model.safetensors")
    digest: Digest
    rank: PositiveInt
    target_modules: tuple[str, ...]
    size_bytes: NonNegativeInt


class Lineage(Contract):
    """Where a version came from."""

    data_digest: Digest
    commit: str = Field(description="git commit of the code, '-dirty' appended when the tree was not clean")
    feature_views: tuple[str, ...] = ()
    pipeline_run: str
    parent_version: str | None = Field(default=None, description="version whose adapter training started from")
    trigger: str | None = Field(default=None, description="retraining key, when a drift alert caused the run")


class ModelVersion(Contract):
    """One registered version. A change of any field is a new version."""

    schema_version: Literal[1] = 1
    name: str = Field(description="registered model name: 'banking-intent'")
    version: str = Field(description="registry version number as text: '7'")
    base: BaseModelRef
    adapter: AdapterInfo
    prompt: PromptTemplate
    generation: GenerationDefaults
    tokenizer_digest: Digest
    report: EvalReport
    attestation: Attestation
    lineage: Lineage
    reference_uri: str = Field(description="Parquet of the reference window that drift compares with")
    created_at: UtcTime

    @property
    def key(self) -> str:
        """`name/version`: unique over the registry, used as arm and adapter id."""
        return f"{self.name}/{self.version}"


Stage = Literal["registered", "challenger", "champion", "archived"]
