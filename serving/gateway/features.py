"""Online features of a request's customer, fetched once for all arms of its table.

When the store fails or is slow, the request is answered all the same, with the features rendered as `unknown`: the
template was trained with missing values too, and a wrong intent now and then is better than no answer. Each such case
is counted and logged.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from serving.gateway.metrics import Metrics
from tidegate.clock import Clock
from tidegate.domain.example import Message
from tidegate.domain.routing import Arm, RoutingTable
from tidegate.logging import get_logger
from tidegate.ports import OnlineFeatures
from tidegate.prompt import FeatureValue, PromptTemplate

_log = get_logger(__name__)
TIMEOUT_SECONDS = 1.0
PREPARE_SECONDS = 20.0
TTL_SECONDS = 5.0
_CACHE_ENTRIES = 10_000
_THREADS = 4
_MAX_WAITING = 64  # lookups behind the threads; more means that the store hangs, and waiting would only add to it

ByReference = Mapping[str, FeatureValue]
"""Feature values by Feast reference ('view:feature')."""


class FeatureLookup:
    """Looks features up in a thread pool, with a time limit and a short cache.

    Args:
        store: the online store; None when the installation has none (then every feature is unknown).
        timeout_seconds: longest wait of a request (s).
        ttl_seconds: how long a looked-up value may be served again (s). A failure is not cached.
    """

    def __init__(
        self,
        store: OnlineFeatures | None,
        *,
        clock: Clock,
        metrics: Metrics,
        timeout_seconds: float = TIMEOUT_SECONDS,
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="features")
        self._waiting = 0
        self._prepared: set[tuple[str, ...]] = set()
        self._cache: OrderedDict[tuple[str, tuple[str, ...]], tuple[float, ByReference]] = OrderedDict()
        self.problem: str | None = None
        """Why the last lookup failed; None after one that did not."""

    async def get(self, customer: str, table: RoutingTable) -> ByReference:
        """The features that any arm of the table needs; empty when they cannot be had."""
        references = references_of(table)
        if not references:
            return {}
        key = (customer, references)
        cached = self._cache.get(key)
        if cached is not None and self._clock.monotonic() < cached[0]:
            return cached[1]
        values = await self._fetch(customer, references)
        if values is None:
            return {}
        self._cache[key] = (self._clock.monotonic() + self._ttl, values)
        self._cache.move_to_end(key)
        if len(self._cache) > _CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return values

    def prepare(self, tables: Sequence[RoutingTable]) -> None:
        """Looks each new set of references up once, so that no user's request meets a cold store. Blocks, bounded.

        A set is tried once only: a store that hangs must not hold up the rollback that publishes the next table.
        """
        wanted = {references_of(table) for table in tables} - {()}
        if not wanted:
            self.problem = None  # what failed is asked for no more
        for references in wanted - self._prepared:
            self._prepared.add(references)
            if self._store is None:
                continue
            try:
                self._pool.submit(self._store.get, "", references).result(PREPARE_SECONDS)
            except Exception as error:  # whatever the store's client raises; requests will meet and count it
                self.problem = f"{type(error).__name__}: {error}"[:500]
                _log.warning("feature store not warm", detail=self.problem)
            else:
                self.problem = None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _fetch(self, customer: str, references: tuple[str, ...]) -> ByReference | None:
        if self._store is None:
            self._failed("absent", "no online store is configured")
            return None
        if self._waiting >= _MAX_WAITING:
            self._failed("overloaded", f"{self._waiting} lookups are waiting")
            return None
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._store.get, customer, references)
        future.add_done_callback(self._done)
        try:
            # Shielded: a thread cannot be cancelled, and the lookup counts as waiting until it has ended.
            values = await asyncio.wait_for(asyncio.shield(future), self._timeout)
        except TimeoutError:
            self._failed("timeout", f"no answer within {self._timeout:g} s")
            return None
        except Exception as error:  # whatever the store's client raises
            self._failed("error", f"{type(error).__name__}: {error}")
            return None
        self.problem = None
        return {reference: _pick(values, reference) for reference in references}

    def _done(self, future: asyncio.Future[dict[str, FeatureValue]]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # marks it as seen: after a time-out nobody else looks

    def _failed(self, reason: str, detail: str) -> None:
        self.problem = detail[:500]
        self._metrics.feature_failures.labels(reason).inc()
        _log.warning("features unknown", reason=reason, detail=self.problem)


def references_of(table: RoutingTable) -> tuple[str, ...]:
    """The union of the arms' references, in a stable order: one lookup serves both arms of a pair."""
    return tuple(dict.fromkeys(reference for arm in table.arms for reference in arm.prompt.feature_views))


def named(prompt: PromptTemplate, values: ByReference) -> dict[str, FeatureValue]:
    """The template's features by the template's names; None where the store had nothing."""
    references = prompt.feature_views or prompt.features
    return {name: values.get(ref) for name, ref in zip(prompt.features, references, strict=True)}


def render(arm: Arm, messages: Sequence[Message], values: ByReference) -> list[Message]:
    """What the arm's model sees."""
    return arm.prompt.render(messages, named(arm.prompt, values))


def _pick(values: Mapping[str, FeatureValue], reference: str) -> FeatureValue:
    """A store may key its answer by reference or by the feature's bare name."""
    return values[reference] if reference in values else values.get(reference.rpartition(":")[2])
