"""Settings: one typed object for every process, from the environment, `<home>/platform.json` and defaults.

Sources, highest first:

1. environment variables: `TIDEGATE_<FIELD>`, nested groups with two underscores (`TIDEGATE_DRIFT__WINDOW_SECONDS`);
2. `<home>/platform.json`: a flat object `{field: value}` that `tidegate up` writes with the ports it found. Keys that
   are not settings are left to their readers (for example `processes`);
3. defaults. The profile `local` fills every address with a loopback one under `home`; the profile `cluster` fills
   none: what is missing there is an error that names the variable.

A process therefore needs nothing but `TIDEGATE_HOME`. Secrets are files under `<home>/secrets` (mode 0600); a setting
holds a secret's path, never its value, and `platform.json` holds neither.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import platformdirs
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from tidegate.cluster_settings import ClusterSettings
from tidegate.errors import InvalidInput
from tidegate.kfp_settings import JobSettings, KfpSettings
from tidegate.plane_settings import (
    DriftSettings,
    FeaturesSettings,
    InferenceLogSettings,
    Intervals,
    Limits,
    RetrainingSettings,
    ScoringSettings,
    TrainingSettings,
)
from tidegate.platform_file import PLATFORM_FILE, PlatformFile

PREFIX = "TIDEGATE_"
Profile = Literal["local", "cluster"]

# The addresses that the local profile fills. `tidegate up` replaces the ports by free ones in platform.json.
_LOCAL_ADDRESSES: dict[str, str] = {
    "mlflow_uri": "http://127.0.0.1:5500",
    "ray_address": "127.0.0.1:6390",
    "ray_dashboard_url": "http://127.0.0.1:8270",
    "engine_url": "http://127.0.0.1:8100",
    "gateway_url": "http://127.0.0.1:8080",
    "receiver_url": "http://127.0.0.1:8085",
}
# Paths below home that every profile may default: they name secrets that a cluster mounts where it likes.
_HOME_PATHS: dict[str, str] = {
    "attestation_key_path": "secrets/attestation.key",
    "api_keys_path": "secrets/api-keys.yaml",
    "ray_token_path": "secrets/ray.token",
    "receiver_token_path": "secrets/receiver.token",
    "feast_repo": "feast",
}
# Not Ray's and the engines' addresses: there is one Ray a runtime, and the operator knows each by its Service.
_CLUSTER_REQUIRED = ("database_url", "artifacts_uri", "inference_log", "mlflow_uri", "gateway_url", "receiver_url")


class Settings(BaseSettings):
    """Everything a process of tidegate is told from outside. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    profile: Profile = Field(default="local", description="which adapters implement the ports: local or cluster")
    home: Path = Field(
        default_factory=lambda: platformdirs.user_state_path("tidegate", appauthor=False),
        description="state folder: database, logs, secrets, artifacts, platform.json; default ~/.local/state/tidegate",
    )
    cache: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("tidegate", appauthor=False),
        description="what can be made again: converted base models, downloads; default ~/.cache/tidegate",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="least severe log line")

    database_url: str = Field(
        default="", repr=False, description="SQLAlchemy URL (can hold a password); local default <home>/tidegate.db"
    )
    artifacts_uri: str = Field(
        default="", description="folder of pipeline artifacts and drift reports; local default <home>/artifacts"
    )

    mlflow_uri: str = Field(default="", description="MLflow tracking and registry server")
    ray_address: str = Field(default="", description="Ray GCS, host:port")
    ray_dashboard_url: str = Field(default="", description="Ray dashboard and jobs REST API")
    ray_token_path: Path = Field(default=Path(), description="file with Ray's authentication token")
    engine_url: str = Field(default="", description="base URL of the engines' OpenAI API (Ray Serve), without /v1")
    feast_repo: Path = Field(default=Path(), description="folder with feature_store.yaml; default <home>/feast")

    gateway_url: str = Field(default="", description="where clients reach the gateway")
    gateway_host: str = Field(default="127.0.0.1", description="address that the gateway binds")
    gateway_port: int = Field(default=8080, ge=0, le=65535, description="port that the gateway binds")
    receiver_url: str = Field(default="", description="where Alertmanager reaches the alert receiver")
    receiver_host: str = Field(default="127.0.0.1", description="address that the receiver binds")
    receiver_port: int = Field(default=8085, ge=0, le=65535, description="port that the receiver binds")
    receiver_token_path: Path = Field(default=Path(), description="file with the receiver's bearer token")

    attestation_key_path: Path = Field(default=Path(), description="file with the key that signs evaluation reports")
    api_keys_path: Path = Field(default=Path(), description="YAML with the gateway's API keys, hashed")

    intervals: Intervals = Field(default=Intervals(), description="poll and tick intervals")
    limits: Limits = Field(default=Limits(), description="limits of one request")
    inference_log: InferenceLogSettings = Field(default=InferenceLogSettings(), description="log of served requests")
    features: FeaturesSettings = Field(default=FeaturesSettings(), description="shared feature store")
    drift: DriftSettings = Field(default=DriftSettings(), description="drift window")
    retraining: RetrainingSettings = Field(
        default=RetrainingSettings(), description="cooldown, attempts and parameters"
    )
    scoring: ScoringSettings = Field(default=ScoringSettings(), description="scoring of mirrored pairs")
    training: TrainingSettings = Field(default=TrainingSettings(), description="price and threads of a worker")
    cluster: ClusterSettings = Field(default=ClusterSettings(), description="profile cluster only")
    kfp: KfpSettings = Field(default=KfpSettings(), description="Kubeflow Pipelines")
    jobs: JobSettings = Field(default=JobSettings(), description="training jobs on a cluster")

    @field_validator("gateway_port", "receiver_port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any, info: ValidationInfo) -> Any:
        """Kubernetes tells pods the Services of their namespace, of `tidegate-gateway` as TIDEGATE_GATEWAY_PORT=tcp://….

        The chart's pods switch that off; Kubeflow Pipelines' cannot.
        """
        linked = isinstance(value, str) and value.startswith("tcp://")
        return cls.model_fields[str(info.field_name)].default if linked else value

    @property
    def logs(self) -> Path:
        """Folder of the processes' log files."""
        return self.home / "logs"

    @property
    def secrets(self) -> Path:
        """Folder of the secrets; its files have mode 0600."""
        return self.home / "secrets"

    @property
    def platform_file(self) -> Path:
        """The file that `tidegate up` writes with what it found."""
        return self.home / PLATFORM_FILE

    @model_validator(mode="after")
    def _complete(self) -> Self:
        values = _home_defaults(self)
        if self.profile == "local":
            values |= _local_defaults(self)
        else:
            missing = _missing_on_cluster(self)
            if missing:
                raise ValueError(f"profile 'cluster' needs {', '.join(missing)}; it takes no local default for them")
        for name, value in values.items():
            object.__setattr__(self, name, value)  # frozen for readers; completed once, here
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings  # one way to configure, and no file found by chance
        return init_settings, env_settings, PlatformFile(settings_cls, init_settings, env_settings)


def load_settings(home: Path | None = None) -> Settings:
    """The settings of this process.

    Args:
        home: state folder; wins over `TIDEGATE_HOME`.

    Raises:
        InvalidInput: a value is malformed or, on a cluster, missing. The message names the variable.
    """
    with _explained():
        return Settings() if home is None else Settings(home=home.expanduser().absolute())


class _Place(Settings):
    """Settings without the check that a cluster's addresses are all there."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        return self


def load_place() -> tuple[Profile, str]:
    """The profile, and the cluster's namespace if one is set: all that a command needs that only calls an API server.

    A person's machine has none of the addresses that the processes of a cluster are told.

    Raises:
        InvalidInput: a value is malformed.
    """
    with _explained():
        place = _Place()
    return place.profile, place.cluster.namespace


def load_kfp() -> KfpSettings:
    """How Kubeflow Pipelines is reached, for commands that only call its API.

    Raises:
        InvalidInput: a value is malformed.
    """
    with _explained():
        return _Place().kfp


def variable(field: str) -> str:
    """The environment variable of a field: 'drift.window_seconds' is TIDEGATE_DRIFT__WINDOW_SECONDS."""
    return PREFIX + field.replace(".", "__").upper()


def _home_defaults(settings: Settings) -> dict[str, Any]:
    home, cache = settings.home.expanduser().absolute(), settings.cache.expanduser().absolute()
    values: dict[str, Any] = {"home": home, "cache": cache}
    for name, below in _HOME_PATHS.items():
        given: Path = getattr(settings, name)
        values[name] = home / below if given == Path() else given.expanduser().absolute()
    return values


def _local_defaults(settings: Settings) -> dict[str, Any]:
    home = settings.home.expanduser().absolute()
    values: dict[str, Any] = {name: url for name, url in _LOCAL_ADDRESSES.items() if not getattr(settings, name)}
    # A port given without its URL decides the URL: the two must not disagree.
    for part in ("gateway", "receiver"):
        if f"{part}_url" in values:
            values[f"{part}_url"] = f"http://127.0.0.1:{getattr(settings, f'{part}_port')}"
    values["database_url"] = settings.database_url or f"sqlite:///{home / 'tidegate.db'}"
    values["artifacts_uri"] = settings.artifacts_uri or str(home / "artifacts")
    log = settings.inference_log
    values["inference_log"] = log.model_copy(update={"uri": log.uri or str(home / "inference-log")})
    return values


def _missing_on_cluster(settings: Settings) -> list[str]:
    missing = []
    for name in _CLUSTER_REQUIRED:
        field = f"{name}.uri" if name == "inference_log" else name
        if not (settings.inference_log.uri if name == "inference_log" else getattr(settings, name)):
            missing.append(variable(field))
    return missing


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What the libraries say of settings that they cannot read, by the names of variables."""
    try:
        yield
    except ValidationError as error:
        lines = []
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{variable(field)}={item['input']!r}: {message}" if field else message)
        raise _unusable("; ".join(lines)) from None
    except SettingsError as error:
        raise _unusable(_no_json(error)) from None


def _no_json(error: SettingsError) -> str:
    """Names the variable whose text is no JSON; the library names its group alone."""
    cause = error.__cause__
    if not isinstance(cause, json.JSONDecodeError):
        return str(error)
    names = [name for name, text in os.environ.items() if name.upper().startswith(PREFIX) and text == cause.doc]
    return f"{' or '.join(names)}={cause.doc!r}: it is no JSON: {cause}"


def _unusable(why: str) -> InvalidInput:
    return InvalidInput(
        f"the settings cannot be used: {why}",
        next_step=f"Correct the environment variable, or the same field in <home>/{PLATFORM_FILE}.",
    )
