"""What the training is asked and what it answers: JSON between the pipeline step and the compute."""

from __future__ import annotations

from pydantic import Field

from tidegate.domain.base import Contract
from tidegate.domain.training import BaseModelRef, Hyperparameters, TrainingResult


class FineTuneSpec(Contract):
    """One training run on the train split."""

    data_uri: str = Field(description="folder that the features step wrote: train.parquet and prompt.json")
    out_uri: str = Field(description="folder that receives adapter/, training_result.json and history.json")
    base: BaseModelRef | str = Field(description="with its digest; or an address alone, whose digest is then taken")
    training: Hyperparameters = Hyperparameters()
    mlflow_uri: str | None = Field(default=None, description="if unset, the setting mlflow_uri")
    experiment: str = Field(default="tidegate", description="MLflow experiment")
    run_name: str = Field(min_length=1, description="of the MLflow run: the pipeline run and step")
    tags: dict[str, str] = Field(default={}, description="of the MLflow run")


class FineTuneResult(Contract):
    """Where the adapter lies, and what the training did."""

    uri: str = Field(description="the step's folder")
    adapter_uri: str
    base: BaseModelRef
    rank: int
    result: TrainingResult
    mlflow_run_id: str
    resumed: bool = Field(description="the adapter was there already, made by the same specification")
    markdown: str
