"""RoutingTable: which arm answers whom. The only thing that a promotion or a rollback changes."""

from __future__ import annotations

import hashlib
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from tidegate.domain.base import Contract, Digest, UtcTime
from tidegate.prompt import GenerationDefaults, PromptTemplate

Role = Literal["stable", "candidate"]
_BUCKETS = 1 << 32


class Arm(Contract):
    """One version that can answer, with all that the gateway needs to ask it."""

    role: Role
    version: str = Field(description="registry version, '7'")
    weight: float = Field(ge=0.0, le=100.0, description="percent of users")
    target: str = Field(description="base URL of the engine's OpenAI API, without the trailing /v1")
    adapter: str = Field(description="the engine's model id for this version: 'banking-intent/7'")
    adapter_digest: Digest
    prompt: PromptTemplate
    generation: GenerationDefaults = GenerationDefaults()


class Mirror(Contract):
    """Which share of first turns is also sent to the other arm."""

    percent: float = Field(default=0.0, ge=0.0, le=100.0)
    max_concurrency: int = Field(default=8, ge=1)


class RoutingTable(Contract):
    """One deployment's routing. `epoch` only grows: whoever holds a higher one refuses a lower one."""

    schema_version: Literal[1] = 1
    deployment: str
    model: str = Field(description="the logical name that applications call: 'intent-assistant'")
    epoch: NonNegativeInt
    salt: str = Field(description="the rollout's id, so that the same users are not always first")
    rollout: str | None = None
    step: str | None = Field(default=None, description="name of the rollout step, which evidence rows carry")
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=2)
    mirror: Mirror = Mirror()
    updated_at: UtcTime

    @model_validator(mode="after")
    def _weights_close(self) -> Self:
        roles = [arm.role for arm in self.arms]
        if roles.count("stable") != 1 or len(set(roles)) != len(roles):
            raise ValueError(f"a table needs exactly one stable arm and at most one candidate, not {roles}")
        total = sum(arm.weight for arm in self.arms)
        if abs(total - 100.0) > 1e-6:
            raise ValueError(f"the weights sum to {total:g}, not to 100")
        return self

    def arm(self, role: Role) -> Arm | None:
        return next((arm for arm in self.arms if arm.role == role), None)

    def choose(self, user: str) -> Arm:
        """The arm for a user: sticky and monotone (raising the candidate's weight only adds users to it)."""
        candidate = self.arm("candidate")
        stable = self.arm("stable")
        assert stable is not None  # _weights_close
        if candidate is not None and self.place(user) < candidate.weight:
            return candidate
        return stable

    def place(self, user: str) -> float:
        """The user's place in [0, 100) in the order in which a growing weight moves users to the candidate."""
        return bucket(self.salt, user) * 100.0


def bucket(salt: str, key: str) -> float:
    """A uniform number in [0, 1) from a salted key (SHA-256, first 32 bits)."""
    head = hashlib.sha256(f"{salt}\x00{key}".encode()).digest()[:4]
    return int.from_bytes(head, "big") / _BUCKETS
