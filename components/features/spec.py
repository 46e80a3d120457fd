"""FeaturesSpec and FeaturesResult: what the features job is told and what it answers."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from tidegate.domain.base import Contract
from tidegate.domain.manifest import DataManifest
from tidegate.prompt import PromptTemplate


class FeaturesSpec(Contract):
    """The payload of `components.features.logic:run`."""

    in_uri: str = Field(description="folder that prepare wrote")
    out_uri: str = Field(description="folder for the splits with a column per feature, manifest.json, prompt.json")
    customer_pool: NonNegativeInt = Field(
        default=0,
        description="also invent profiles for the first so many customers of the synthetic population, so that live "
        "traffic of customers without training rows finds features; no effect when the data brings features",
    )


class FeaturesResult(Contract):
    """The answer of the job."""

    uri: str
    prompt: PromptTemplate
    manifest: DataManifest
    customers: NonNegativeInt = Field(description="customers whose history was written by this run")
    history_rows: NonNegativeInt = Field(description="rows of history that the view has now, of all runs")
    synthetic: bool = Field(description="whether the features were invented")
