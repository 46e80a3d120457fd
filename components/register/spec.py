"""What registration is asked and what it answers: JSON between the pipeline step and the compute."""

from __future__ import annotations

from pydantic import Field

from tidegate.domain.base import Contract
from tidegate.domain.training import BaseModelRef, TrainingResult
from tidegate.domain.version import ModelVersion


class RegisterSpec(Contract):
    """One registration. `key` names the effect: running the same key again finds the version that there is."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="registered model: 'banking-intent'")
    key: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$", description="idempotency key, for example the pipeline run"
    )
    data_uri: str = Field(description="folder of the features step: manifest.json and prompt.json")
    evaluation_uri: str = Field(description="folder of the evaluate step")
    adapter_uri: str = Field(description="folder of the fine-tune step, or of an adapter itself")
    base: BaseModelRef | str = Field(description="with its digest; or an address alone, whose digest is then taken")
    training: TrainingResult | None = Field(
        default=None, description="if unset, training_result.json of the fine-tune step's folder, when there is one"
    )
    pipeline_run: str
    trigger: str | None = Field(default=None, description="retraining key, when an alert caused the run")
    parent_version: str | None = None
    alias: str | None = Field(default="challenger", description="alias that nominates the version; None sets none")


class RegisterResult(Contract):
    """The version, and whether this call made it."""

    version: ModelVersion
    created: bool
    model_uri: str = Field(description="what mlflow.pyfunc.load_model takes")
    card: str = Field(description="the model card, Markdown")
