"""Simulated traffic: users of unlike weight and fortune, load that changes over the day, answers of both versions.

Every request carries what *both* versions would have done with it, so that each method splits the same traffic by its
own weights and sees what its own split would have shown it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tidegate.domain.evidence import BOUNDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAY_SECONDS = 86_400.0
_SWING = 0.6
"""Traffic over the day swings by so much around its mean; errors and latency follow the load."""
_LOAD_ON_ERRORS = 0.5
_LOAD_ON_TTFT = 0.3
_TTFT_SECONDS = 0.25
"""Median time to first token."""
_TTFT_SPREAD = 0.5
"""Of log seconds."""
_BUCKETS_PER_E = len(BOUNDS[1:]) / math.log(BOUNDS[-1] / BOUNDS[0])


@dataclass(frozen=True)
class Scenario:
    """What traffic is like and what the candidate is like.

    Attributes:
        rate: mean requests per second.
        spread: standard deviation of the log of users' activity; 1.5 lets 10% of the users send half of the requests.
        clustering: 0 for users who are all alike; above it the variance of the factor by which users' error rates
            differ (mean 1), and a share of the spread of log latency that belongs to the user.
        seconds: length of the traffic.
        accuracy, drop: share of right answers of the stable version, and by how much the candidate's is lower.
        discordant: share of requests on which exactly one version is right, when drop is 0 (each as often).
        errors, candidate_errors: shares of failed requests, at mean load.
        slower: factor on the candidate's time to first token.
    """

    name: str
    rate: float
    spread: float = 1.5
    clustering: float = 0.0
    seconds: float = 3600.0
    accuracy: float = 0.8
    drop: float = 0.0
    discordant: float = 0.16
    errors: float = 0.01
    candidate_errors: float | None = None
    slower: float = 1.0

    def at(self, rate: float, seconds: float) -> Scenario:
        return replace(self, rate=rate, seconds=seconds)


@dataclass(frozen=True)
class Traffic:
    """One simulated stretch of traffic, a request a row, in order of time.

    Attributes:
        time: seconds from the beginning.
        user: number of the user; `place[user]` its place in [0, 100) in the order in which weights move users.
        fails: `(2, requests)`: whether the stable version (0) or the candidate (1) would have failed.
        bucket: `(2, requests)` latency bucket of the time to first token.
        right: `(2, requests)`: whether the answer would have been right.
    """

    time: Floats
    user: Ints
    place: Floats
    fails: Bools
    bucket: NDArray[np.uint8]
    right: Bools

    @property
    def of_request(self) -> Floats:
        """The place of every request's user."""
        of: Floats = self.place[self.user]
        return of


def simulate(scenario: Scenario, rng: np.random.Generator) -> Traffic:
    """One stretch of traffic that begins at a random time of the day."""
    time, load = _arrivals(scenario, rng)
    n = len(time)
    users = max(2000, int(scenario.rate * 400))
    activity = np.cumsum(rng.lognormal(0.0, scenario.spread, users))
    user = np.searchsorted(activity, rng.random(n) * activity[-1]).astype(np.int64)
    clustering = scenario.clustering
    fortune = rng.gamma(1 / clustering, clustering, users) if clustering else np.ones(users)
    errors = np.array([[scenario.errors], [scenario.errors if scenario.candidate_errors is None else 0.0]])
    if scenario.candidate_errors is not None:
        errors[1] = scenario.candidate_errors
    risk = np.minimum(1.0, errors * (1 + _LOAD_ON_ERRORS * (load - 1)) * fortune[user])
    fails = rng.random((2, n)) < risk
    own = math.sqrt(min(0.8, clustering / 10)) * _TTFT_SPREAD
    log = math.log(_TTFT_SECONDS) + _LOAD_ON_TTFT * (load - 1) + (rng.normal(0.0, own, users)[user] if own else 0.0)
    spread = math.sqrt(_TTFT_SPREAD**2 - own**2)
    seconds = log + rng.normal(0.0, spread, (2, n)) + np.array([[0.0], [math.log(scenario.slower)]])
    bucket = np.clip(np.ceil((seconds - math.log(BOUNDS[0])) * _BUCKETS_PER_E), 0, len(BOUNDS)).astype(np.uint8)
    return Traffic(time, user, 100 * rng.random(users), fails, bucket, _right(scenario, n, rng))


def _arrivals(scenario: Scenario, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Times in seconds, and the load at each, 1 on average over the day."""
    phase = rng.random() * 2 * math.pi

    def load(at: Floats) -> Floats:
        values: Floats = 1 + _SWING * np.sin(phase + 2 * math.pi * at / DAY_SECONDS)
        return values

    most = int(rng.poisson(scenario.rate * (1 + _SWING) * scenario.seconds))
    at = np.sort(rng.random(most)) * scenario.seconds
    kept = at[rng.random(most) * (1 + _SWING) < load(at)]
    return kept, load(kept)


def _right(scenario: Scenario, n: int, rng: np.random.Generator) -> Bools:
    """Answers of both versions: both right, one, or none, so that the discordant share is as asked."""
    draw = rng.random(n)
    losses, wins = shares(scenario)
    both = scenario.accuracy - losses
    stable = draw < losses + both
    candidate = ((draw >= losses) & (draw < losses + both)) | ((draw >= losses + both) & (draw < losses + both + wins))
    return np.stack([stable, candidate])


def shares(scenario: Scenario) -> tuple[float, float]:
    """(losses, wins) as shares of pairs."""
    discordant = max(scenario.discordant, abs(scenario.drop))
    return (discordant + scenario.drop) / 2, (discordant - scenario.drop) / 2
