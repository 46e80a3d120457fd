"""The plans that are simulated, and the traffic levels with how long each is watched."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.domain.resources import RolloutPlan


@dataclass(frozen=True)
class Level:
    """A level of traffic.

    Attributes:
        rate: mean requests per second.
        mirror_percent: share of first turns that both versions answer: the more traffic, the smaller it can be.
        seconds: how long identical versions are watched at most; a rollout that is not decided by then counts as such.
        longer: factor by which whoever tunes a method to this traffic makes its steps and checks longer.
    """

    rate: float
    mirror_percent: float
    seconds: float
    longer: float = 1.0


LEVELS = (Level(0.5, 100, 9000.0, longer=5.0), Level(5.0, 50, 2400.0, longer=1.5), Level(50.0, 10, 1200.0))


def example_plan(longer: float = 1.0) -> RolloutPlan:
    """An example plan: a paired gate, a latency with a ceiling, errors; a shadow step and two with users."""
    seconds = round(300 * longer)
    return RolloutPlan.model_validate(
        {
            "steps": [
                {"name": "shadow", "weight": 0, "minPairs": 200},
                {"name": "small", "weight": 10, "minPairs": 100, "minDurationSeconds": seconds},
                {"name": "half", "weight": 50, "minPairs": 100, "minDurationSeconds": seconds},
            ],
            "maxPairs": 3000,
            "metrics": [
                {"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"},
                {
                    "name": "ttft-p95",
                    "mode": "NoHarm",
                    "comparison": "Concurrent",
                    "maxIncreasePercent": 10,
                    "ceilingMilliseconds": 2000,
                },
                {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "0.5"},
            ],
        }
    )
