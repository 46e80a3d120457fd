"""TrainingSpec and TrainingResult: the contract between a pipeline step and the compute that trains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tidegate.domain.base import Contract, Digest


class BaseModelRef(Contract):
    """The base model: where its files lie and what they must hash to."""

    uri: str = Field(description="a folder path, file:// or s3:// address, or a hub id")
    digest: Digest
    name: str = Field(description="for people: 'SmolLM2-135M-Instruct'")


class LoraSpec(Contract):
    """LoRA hyper-parameters (Hu et al. 2021, arXiv:2106.09685)."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Hyperparameters(Contract):
    """What determines a training run beside its base model and its rows."""

    method: Literal["lora"] = "lora"
    lora: LoraSpec = LoraSpec()
    start_from: str | None = Field(
        default=None,
        description="what to continue from: an adapter's folder, 'name/version' or 'name@alias'; None starts afresh",
    )
    learning_rate: PositiveFloat = 1e-3
    max_steps: PositiveInt = 30
    batch_size: PositiveInt = Field(default=16, description="rows per step, over all workers together")
    max_tokens: PositiveInt = Field(default=192, description="rows longer than this many tokens are refused, not cut")
    warmup_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    seed: int = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    workers: PositiveInt = Field(default=1, description="Ray Train workers")
    price_per_hour: NonNegativeFloat = Field(default=0.0, description="of one worker, in the currency of your choice")

    def flat(self) -> dict[str, str | int | float | None]:
        """By name, as parameters of a run; LoRA's own begin with 'lora_'."""
        lora = {f"lora_{name}": value for name, value in self.lora.model_dump(mode="json").items()}
        lora["lora_target_modules"] = " ".join(self.lora.target_modules)
        return {**self.model_dump(mode="json", exclude={"lora"}), **lora}


class TrainingSpec(Hyperparameters):
    """Everything that determines a training run."""

    base: BaseModelRef


class TrainingResult(Contract):
    """What a training run did."""

    adapter_uri: str
    adapter_digest: Digest
    steps: PositiveInt
    first_loss: float
    final_loss: float
    train_tokens: PositiveInt
    tokens_per_second: PositiveFloat
    seconds: PositiveFloat
    peak_memory_bytes: PositiveInt = Field(description="of the GPU; on CPUs of the first worker's process")
    precision: Literal["bfloat16", "float32"]
    device: str = Field(description="what the workers really computed on: 'cpu', 'NVIDIA L4', '2 x NVIDIA L4'")
    cost: NonNegativeFloat
    seed: int
    hyperparameters: Hyperparameters | None = Field(default=None, description="None: an earlier release did not say")
