"""Groups of settings of what serves, watches and trains: intervals, limits, logs, drift, retraining."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Intervals(_Group):
    """How often the processes look, in seconds."""

    routing_poll: PositiveFloat = Field(default=0.25, description="gateway: looks for a new routing epoch (s)")
    registry_poll: PositiveFloat = Field(default=2.0, description="controller: looks at the registry's aliases (s)")
    controller_tick: PositiveFloat = Field(default=0.5, description="controller: judges every rollout (s)")
    engine_poll: PositiveFloat = Field(default=1.0, description="controller: asks the engines how they are (s)")
    scorer_tick: PositiveFloat = Field(default=1.0, description="scorer: takes the next unscored pairs (s)")
    dispatcher_tick: PositiveFloat = Field(default=2.0, description="retraining dispatcher: looks for requests (s)")
    status_write: NonNegativeFloat = Field(
        default=2.0, description="operator: a status in which only counts changed is written at most so often (s)"
    )
    lease_ttl: PositiveFloat = Field(default=6.0, description="a lease that is not renewed for so long is free (s)")
    ack_fresh: PositiveFloat = Field(
        default=10.0, description="a gateway that has not acknowledged for so long is not counted as ready (s)"
    )


class Limits(_Group):
    """What one request may cost."""

    max_body_bytes: PositiveInt = Field(default=1 << 20, description="largest request body (bytes)")
    timeout_seconds: PositiveFloat = Field(default=60.0, description="longest wait for an engine's answer (s)")
    max_concurrency: PositiveInt = Field(default=64, description="requests in flight per gateway; more answer 503")
    drain_seconds: PositiveFloat = Field(
        default=9.0, description="gateway: requests in flight have so long when the process is told to end (s)"
    )


class InferenceLogSettings(_Group):
    """The Parquet log of served requests."""

    uri: str = Field(default="", description="folder of the log; local default <home>/inference-log")
    flush_rows: PositiveInt = Field(default=256, description="write a file when so many rows wait")
    flush_seconds: PositiveFloat = Field(default=2.0, description="write what waits at least so often (s)")
    max_buffer_rows: PositiveInt = Field(
        default=10_000, description="rows kept when the store is slow; beyond it the oldest are dropped and counted"
    )


class FeaturesSettings(_Group):
    """A feature store that several pods share. Without a configuration it is the folder `feast_repo`."""

    config: Path | None = Field(
        default=None, description="feature_store.yaml of a store that pods share; unset: the folder TIDEGATE_FEAST_REPO"
    )
    history_uri: str = Field(
        default="", description="with a configuration: folder of the histories; default <artifacts_uri>/features"
    )


class DriftSettings(_Group):
    """The window that a drift check compares with the version's reference."""

    window_seconds: PositiveFloat = Field(default=3600.0, description="length of the window that ends now (s)")
    min_rows: PositiveInt = Field(default=60, description="fewer rows give the verdict too_few_rows")
    max_rows: PositiveInt = Field(default=5000, description="rows above this are sampled, seeded")
    share_threshold: float = Field(
        default=0.3, gt=0.0, le=1.0, description="share of drifted columns that makes the verdict drift"
    )
    keep_reports: PositiveInt = Field(default=200, description="drift reports kept, of some 4 MB each; older ones go")


class RetrainingSettings(_Group):
    """When a drift alert may start a retraining, and with which parameters."""

    cooldown_seconds: NonNegativeFloat = Field(
        default=3600.0, description="after a retraining of a model ended, no other starts for so long (s)"
    )
    max_attempts: PositiveInt = Field(default=2, description="runs per request before it is failed for good")
    retry_seconds: NonNegativeFloat = Field(
        default=30.0,
        description="wait before a run that the infrastructure failed is tried again, and after the first start that "
        "failed; doubled with each further start, up to 10 minutes (s)",
    )
    parameters: str = Field(
        default="",
        description="parameters of the pipeline retrain by deployment, as JSON; `*` is any, a deployment's own win: "
        '`{"*": {"max_steps": 200}, "support": {"node_pool": "a100"}}`',
    )


class ScoringSettings(_Group):
    """How mirrored pairs are scored."""

    label_horizon_seconds: PositiveFloat = Field(
        default=86_400.0, description="how long a pair waits for its true label; after it, the score is missing (s)"
    )


class TrainingSettings(_Group):
    """Defaults of a training run that belong to the machine, not to the model."""

    price_per_hour: NonNegativeFloat = Field(
        default=0.0, description="price of one worker for one hour, in the currency of your choice"
    )
    threads: PositiveInt | None = Field(default=None, description="CPU threads of a worker; unset: all cores")
    gpus: NonNegativeInt = Field(
        default=0,
        description="GPUs that training, evaluation and the local Ray may use: they use them or fail; 0: CPUs. "
        "On a cluster the platform sets it to what it reserved for the job",
    )
