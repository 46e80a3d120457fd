"""What teams use now, evaluated as its documentation says, on the same simulated traffic.

- Argo Rollouts v1.8, docs/features/analysis.md: a background AnalysisRun measures every `interval`; a measurement that
  does not meet `successCondition` fails; the run fails when failures exceed `failureLimit` (cumulative, not in a row),
  which aborts the rollout. A NaN meets no condition. Completing all steps promotes.
- Flagger v1.41, docs/gitbook/usage/{deployment-strategies,metrics}.md: every `interval` all metrics must lie in their
  `thresholdRange`; then the weight grows by `stepWeight`, otherwise it stays and the failed checks are counted;
  `threshold` of them roll back; passing at `maxWeight` promotes. No values halt and count as a failed check.
- Kayenta (NetflixACAJudge), spinnaker.io guides/user/canary/{judge,best-practices} and docs/canary-config.md: time
  series of canary and baseline are compared by a Mann-Whitney confidence interval of 98% with a tolerance of 25% of the
  Hodges-Lehmann estimate, then by `effectSize`; the score is the weighted share of passing metric groups; a run below
  `marginal` fails the canary at once, the last run must reach `pass`.
- A repeated t-test: what a notebook or a dashboard with a significance star does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tests.bench.rollouts.plans import Level
from tests.bench.rollouts.traffic import Bools, Floats, Ints, Scenario, Traffic
from tests.bench.rollouts.watched import Series, split, watch


@dataclass(frozen=True)
class Verdict:
    """How a method ended: rolled back after so many seconds, or promoted, or neither.

    Attributes:
        exposed: users' requests that the candidate had answered by then.
    """

    rolled_back: bool
    promoted: bool
    seconds: float
    exposed: int


@dataclass(frozen=True)
class Limits:
    """Absolute limits: what somebody has to know about the stable version beforehand."""

    errors: float
    accuracy: float
    ttft: float

    def holds(self, series: Series, i: int) -> bool:
        """NaN holds in no comparison."""
        return bool(
            series.errors[i] <= self.errors and series.accuracy[i] >= self.accuracy and series.ttft[i] <= self.ttft
        )


def usual_limits(scenario: Scenario, errors: float, *, labels: bool) -> Limits:
    """Five points below the stable accuracy, twice its usual latency quantile."""
    return Limits(errors=errors, accuracy=scenario.accuracy - 0.05 if labels else 0.0, ttft=1.2)


@dataclass(frozen=True)
class Argo:
    """setWeight steps with pauses, and one background analysis.

    Attributes:
        weights: percent, one a step.
        pause: seconds of each step.
        interval: seconds between measurements, and the range that each looks back over.
        starts: index of the step from which on it measures.
    """

    limits: Limits
    weights: tuple[float, ...] = (20, 40, 60, 80)
    pause: float = 600.0
    interval: float = 300.0
    failure_limit: int = 3
    starts: int = 1

    def judge(self, traffic: Traffic) -> Verdict:
        per_step = int(self.pause / self.interval)
        weights = np.repeat(np.array(self.weights, dtype=np.float64), per_step)
        on = split(traffic, weights, self.interval)
        series = watch(traffic, np.flatnonzero(on), 1, self.interval, len(weights))
        failures = 0
        for i in range(self.starts * per_step, len(weights)):
            failures += not self.limits.holds(series, i)
            if failures > self.failure_limit:
                return _ended(traffic, on, (i + 1) * self.interval, rolled_back=True)
        return _ended(traffic, on, len(weights) * self.interval, rolled_back=False)


@dataclass(frozen=True)
class Flagger:
    """A weight that grows with every check that holds."""

    limits: Limits
    step_weight: float = 5.0
    max_weight: float = 50.0
    interval: float = 60.0
    threshold: int = 10

    def judge(self, traffic: Traffic) -> Verdict:
        most = int(traffic.time[-1] // self.interval)
        place, failures, weight = traffic.of_request, 0, self.step_weight
        on = np.zeros(len(traffic.time), dtype=bool)
        edges = np.searchsorted(traffic.time, np.arange(most + 1) * self.interval)
        for i in range(most):
            rows = np.arange(edges[i], edges[i + 1])
            on[rows] = place[rows] < weight
            one = watch(_shifted(traffic, i * self.interval), rows[on[rows]], 1, self.interval, 1)
            if self.limits.holds(one, 0):
                if weight >= self.max_weight:
                    return _ended(traffic, on, (i + 1) * self.interval, rolled_back=False)
                weight = min(self.max_weight, weight + self.step_weight)
            else:
                failures += 1
                if failures >= self.threshold:
                    return _ended(traffic, on, (i + 1) * self.interval, rolled_back=True)
        return Verdict(False, False, float(traffic.time[-1]), int(on.sum()))


def _shifted(traffic: Traffic, seconds: float) -> Traffic:
    return Traffic(traffic.time - seconds, traffic.user, traffic.place, traffic.fails, traffic.bucket, traffic.right)


@dataclass(frozen=True)
class Kayenta:
    """Canary against an equally large baseline, one point of each series a minute.

    Attributes:
        runs: analyses, each over its own interval (not over everything since the beginning).
        interval: seconds of a run.
        worse_by: `effectSize`: ratio of means (its inverse for accuracy) that a metric must reach to fail; 1 is the
            default, no effect size.
    """

    runs: int = 3
    interval: float = 3600.0
    points: float = 60.0
    weight: float = 10.0
    confidence: float = 0.98
    tolerance: float = 0.25
    passing: float = 95.0
    marginal: float = 75.0
    worse_by: float = 1.0
    labels: bool = True

    def judge(self, traffic: Traffic) -> Verdict:
        place = traffic.of_request
        on = place < self.weight
        points = int(self.runs * self.interval / self.points)
        canary = watch(traffic, np.flatnonzero(on), 1, self.points, points)
        beside = np.flatnonzero((place >= self.weight) & (place < 2 * self.weight))
        baseline = watch(traffic, beside, 0, self.points, points)
        per_run = int(self.interval / self.points)
        for run in range(self.runs):
            part = slice(run * per_run, (run + 1) * per_run)
            passed = [
                not self._worse(canary.errors[part], baseline.errors[part]),
                not self._worse(canary.ttft[part], baseline.ttft[part]),
            ]
            if self.labels:
                passed.append(not self._worse(-canary.accuracy[part], -baseline.accuracy[part]))
            score = 100 * sum(passed) / len(passed)
            if score < self.marginal or (run == self.runs - 1 and score < self.passing):
                return _ended(traffic, on, (run + 1) * self.interval, rolled_back=True)
        return _ended(traffic, on, self.runs * self.interval, rolled_back=False)

    def _worse(self, canary: Floats, baseline: Floats) -> bool:
        """Whether the canary's values are classified `High`."""
        x, y = canary[np.isfinite(canary)], baseline[np.isfinite(baseline)]
        if not len(x) or not len(y):
            return False  # NODATA fails nothing unless the metric is marked so
        low, estimate = shift_interval(x, y, self.confidence)
        ratio = x.mean() / y.mean() if y.mean() else math.inf
        effect = ratio >= self.worse_by if y.mean() >= 0 else ratio <= 1 / self.worse_by
        return bool(low > self.tolerance * abs(estimate) and effect)


def shift_interval(x: Floats, y: Floats, confidence: float) -> tuple[float, float]:
    """Lower bound of the shift of x against y and its Hodges-Lehmann estimate.

    The normal approximation with correction for ties, as in R's wilcox.test (Hollander & Wolfe 1973, chapter 4).
    """
    differences = np.sort((x[:, None] - y[None, :]).ravel())
    m, n = len(x), len(y)
    _, ties = np.unique(np.concatenate([x, y]), return_counts=True)
    correction = float((ties.astype(np.float64) ** 3 - ties).sum()) / ((m + n) * (m + n - 1))
    sigma = math.sqrt(max(0.0, m * n / 12 * (m + n + 1 - correction)))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rank = max(0, math.floor(m * n / 2 - 0.5 - z * sigma))
    return float(differences[rank]), float(np.median(differences))


@dataclass(frozen=True)
class RepeatedT:
    """One-sided two-sample t-tests on everything since the beginning, at every look; any star rolls back."""

    alpha: float
    weights: tuple[float, ...] = (10, 50)
    pause: float = 900.0
    look: float = 60.0
    labels: bool = True

    def judge(self, traffic: Traffic) -> Verdict:
        per_step = int(self.pause / self.look)
        weights = np.repeat(np.array(self.weights, dtype=np.float64), per_step)
        on = split(traffic, weights, self.look)
        index = (traffic.time // self.look).astype(np.int64)
        kept = index < len(weights)
        version = on[kept].astype(np.int64)
        rows = np.flatnonzero(kept)
        fails = traffic.fails[version, rows]
        worse = [fails.astype(np.float64), traffic.bucket[version, rows].astype(np.float64)]
        if self.labels:
            worse.append((~traffic.right[version, rows] | fails).astype(np.float64))
        star = np.zeros(len(weights), dtype=bool)
        for values in worse:
            star |= self._stars(values, version, index[kept], len(weights))
        if star.any():
            return _ended(traffic, on, (int(star.argmax()) + 1) * self.look, rolled_back=True)
        return _ended(traffic, on, len(weights) * self.look, rolled_back=False)

    def _stars(self, values: Floats, version: Ints, index: Ints, looks: int) -> Bools:
        def so_far(weights: Floats, arm: int) -> Floats:
            sums: Floats = np.cumsum(np.bincount(index[version == arm], weights[version == arm], minlength=looks))
            return sums

        ones = np.ones_like(values)
        n, total, squares = ([so_far(w, arm) for arm in (0, 1)] for w in (ones, values, values * values))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = [total[arm] / n[arm] for arm in (0, 1)]
            variance = [(squares[arm] / n[arm] - mean[arm] ** 2) / (n[arm] - 1) for arm in (0, 1)]
            t = (mean[1] - mean[0]) / np.sqrt(variance[0] + variance[1])
        stars: Bools = (t > NormalDist().inv_cdf(1 - self.alpha)) & (n[1] >= 20)
        return stars


def _ended(traffic: Traffic, on: Bools, seconds: float, *, rolled_back: bool) -> Verdict:
    exposed = int(np.count_nonzero(on & (traffic.time <= seconds)))
    return Verdict(rolled_back, not rolled_back, seconds, exposed)


Method = Callable[[Traffic], Verdict]


def methods(scenario: Scenario, level: Level, *, labels: bool = True) -> dict[str, Method]:
    """Name -> method: with the settings of its documentation's example, and with settings tuned to this service.

    Tuned means what somebody would choose who knows the service: limits in the middle between the stable version and
    the harm that matters, and checks long enough to see some dozen requests of the candidate at this traffic.

    Args:
        labels: whether the quality of answers is watched at all; the built-in metrics are errors and latency.
    """
    documented, tight, middle = (usual_limits(scenario, errors, labels=labels) for errors in (0.05, 0.01, 0.03))
    longer = level.longer
    return {
        "Argo Rollouts, documented": Argo(documented).judge,
        "Argo Rollouts, tuned": Argo(middle, (10, 25, 50), 600 * longer, 120 * longer, 4, 0).judge,
        "Flagger, documented": Flagger(tight).judge,
        "Flagger, tuned": Flagger(middle, step_weight=10, interval=120 * longer, threshold=4).judge,
        "Kayenta, documented": Kayenta(labels=labels).judge,
        "Kayenta, tuned": Kayenta(
            interval=1200 * longer, points=20 * longer, weight=25, worse_by=1.05, runs=2, labels=labels
        ).judge,
        "t-test every minute, 5%": RepeatedT(0.05, labels=labels).judge,
        "t-test every minute, 1%": RepeatedT(0.01, labels=labels).judge,
    }
