"""Writers lose nothing while the sink recovers in time, and drop and count what exceeds their memory."""

from __future__ import annotations

import threading

import pytest

from serving.gateway.batching import BatchWriter
from tidegate.errors import Unavailable

FOREVER = 3600.0


class Sink:
    def __init__(self, *, failures: int = 0, error: Exception | None = None) -> None:
        self.written: list[int] = []
        self.failures = failures
        self.error = error or Unavailable("locked")
        self.called = threading.Event()

    def __call__(self, batch: list[int]) -> None:
        self.called.set()
        if self.failures > 0:
            self.failures -= 1
            raise self.error
        self.written.extend(batch)


def _writer(sink: Sink, dropped: list[int], *, capacity: int = 100, items: int = 10) -> BatchWriter[int]:
    return BatchWriter(
        "test", sink, capacity=capacity, flush_items=items, flush_seconds=FOREVER, on_drop=dropped.append
    )


def test_what_waits_at_the_end_is_written_in_order() -> None:
    sink, dropped = Sink(), list[int]()
    writer = _writer(sink, dropped)
    writer.start()
    for item in range(37):
        writer.offer(item)
    writer.stop(10)
    assert (sink.written, dropped) == (list(range(37)), [])


def test_a_full_batch_is_written_without_waiting_for_the_time() -> None:
    sink = Sink()
    writer = _writer(sink, [], items=3)
    writer.start()
    for item in range(3):
        writer.offer(item)
    assert sink.called.wait(10)
    writer.stop(10)
    assert sink.written == [0, 1, 2]


def test_a_batch_that_could_not_be_written_is_kept_and_its_reason_known() -> None:
    sink = Sink(failures=1)
    writer = _writer(sink, [], items=2)
    writer.start()
    writer.offer(0)
    writer.offer(1)
    assert sink.called.wait(10)
    writer.offer(2)
    writer.stop(10)
    assert sink.written == [0, 1, 2]
    assert writer.problem is None


def test_beyond_its_capacity_the_oldest_are_dropped_and_counted() -> None:
    dropped: list[int] = []
    sink = Sink()
    writer = _writer(sink, dropped, capacity=3, items=100)
    for item in range(5):
        writer.offer(item)
    writer.start()
    writer.stop(10)
    assert (sink.written, sum(dropped)) == ([2, 3, 4], 2)


def test_a_batch_that_can_never_be_written_does_not_stop_later_ones() -> None:
    dropped: list[int] = []
    sink = Sink(failures=1, error=TypeError("no such column"))
    writer = _writer(sink, dropped, items=2)
    writer.start()
    writer.offer(0)
    writer.offer(1)
    assert sink.called.wait(10)
    writer.offer(2)
    writer.stop(10)
    assert (sink.written, dropped) == ([2], [2])


@pytest.mark.parametrize("started", [True, False])
def test_what_is_lost_at_the_end_is_counted(started: bool) -> None:
    dropped: list[int] = []
    sink = Sink(failures=10)
    writer = _writer(sink, dropped)
    if started:
        writer.start()
    writer.offer(1)
    writer.stop(10)
    assert dropped == [1]
    assert writer.waiting == 1
