"""The drift job on real generated messages: log, labels and reference on disk, a real receiver at the other end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from components.datasets.generator import generate, traffic
from components.datasets.intents import BASE_INTENTS, NEW_INTENTS
from monitoring.drift import job, reports
from monitoring.drift.reference import write_reference
from monitoring.drift.spec import DriftCheckResult, DriftCheckSpec
from monitoring.retraining.rows import export_new_rows
from tests.integration.monitoring.conftest import StartReceiver
from tests.integration.monitoring.receiver import Home, wait_for
from tidegate import inference_log
from tidegate.adapters import storage
from tidegate.clock import SystemClock
from tidegate.domain.evidence import Feedback
from tidegate.domain.routing import Arm, RoutingTable
from tidegate.errors import InvalidInput, NotFound
from tidegate.inference_log import LogRow
from tidegate.prompt import PromptTemplate
from tidegate.settings import Settings
from tidegate.store.evidence import EvidenceStore
from tidegate.store.routing import RoutingStore

pytestmark = pytest.mark.integration

DEPLOYMENT = "intent-assistant"
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEGMENTS = ("retail", "premium", "business")


class Served:
    """A home whose deployment serves a version with a registered reference."""

    def __init__(self, home: Home) -> None:
        self.settings = Settings(home=home.path)
        self._home = home
        rng = random.Random(1)
        rows = [row for row in generate(1, 400, dirty=False) if row.text]
        window = pd.DataFrame(
            {
                "text": [row.text for row in rows],
                "label": [row.label for row in rows],
                "group": [row.group for row in rows],
                "segment": [_segment(str(row.group)) for row in rows],
            }
        )
        window["prediction"] = [label if rng.random() < 0.92 else rng.choice(BASE_INTENTS) for label in window["label"]]
        window["correct"] = window["prediction"] == window["label"]
        self.reference = write_reference(window, str(home.path / "version"), labels=BASE_INTENTS)
        arm = Arm(
            role="stable",
            version="3",
            weight=100,
            target="http://127.0.0.1:1",
            adapter="banking-intent/3",
            adapter_digest="sha256:" + "0" * 64,
            prompt=PromptTemplate(system="segment={segment}", features=("segment",), labels=tuple(BASE_INTENTS)),
        )
        table = RoutingTable(deployment=DEPLOYMENT, model=DEPLOYMENT, epoch=1, salt="s", arms=(arm,), updated_at=END)
        RoutingStore(home.db, SystemClock()).publish(table)

    def serve(self, seed: int, count: int, intents: Sequence[str], *, end: datetime, style: str = "standard") -> None:
        """Writes `count` answered requests of the hour before `end`, with their labels."""
        rng = random.Random(seed)
        messages = traffic(seed, 300, count, intents=intents, style=style)  # type: ignore[arg-type]
        rows, labels = [], []
        for number, message in enumerate(messages):
            known = message.intent in BASE_INTENTS and rng.random() < 0.92
            time = end - timedelta(seconds=3000 * (count - number) / count)
            row = LogRow(
                request_id=f"{seed}-{number}",
                time=time,
                model=DEPLOYMENT,
                deployment=DEPLOYMENT,
                version="3",
                role="stable",
                epoch=1,
                rollout=None,
                step=None,
                user=message.user,
                customer=message.user,
                text=message.text,
                answer=message.intent if known else rng.choice(BASE_INTENTS),
                outcome="ok",
                latency_seconds=0.1,
                ttft_seconds=None,
                prompt_tokens=20,
                completion_tokens=4,
                features={"segment": _segment(message.user)},
            )
            rows += [row, replace(row, request_id=f"{row.request_id}-refused", outcome="refused", answer=None)]
            labels.append(
                Feedback(
                    id=f"f-{row.request_id}",
                    request_id=row.request_id,
                    deployment=DEPLOYMENT,
                    kind="label",
                    value=message.intent,
                    source="test",
                    time=time + timedelta(minutes=1),
                )
            )
        inference_log.write_rows(self.settings.inference_log.uri, rows)
        EvidenceStore(self._home.db, SystemClock()).add_feedback(labels)

    def check(self, *, end: datetime, settings: Settings | None = None) -> DriftCheckResult:
        spec = DriftCheckSpec(deployment=DEPLOYMENT, reference_uri=self.reference, window_end=end)
        return job.check_drift(spec, settings or self.settings, SystemClock(), lambda _message, _numbers: None)


def _segment(customer: str) -> str:
    return SEGMENTS[sum(customer.encode()) % len(SEGMENTS)]


@pytest.fixture
def served(home: Home) -> Served:
    return Served(home)


def test_drift_is_found_reported_and_retrains_once_until_it_is_resolved(
    home: Home, served: Served, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    settings = served.settings.model_copy(update={"receiver_url": receiver.url})
    served.serve(1, 200, BASE_INTENTS, end=END)
    calm = served.check(end=END, settings=settings)
    assert calm.report.verdict == "no_drift", calm.report.reason
    assert calm.report.window_rows == 200
    assert calm.alert == "none"

    later = END + timedelta(hours=2)
    served.serve(2, 200, [*BASE_INTENTS, *NEW_INTENTS], end=later, style="chat")
    found = served.check(end=later, settings=settings)
    assert found.report.verdict == "drift"
    assert found.alert == "firing"
    drifted = {column.column for column in found.report.columns if column.drifted}
    assert {"text", "labels", "exact_match"} <= drifted
    assert "version cannot answer" in found.report.reason
    page = storage.read_text(found.report.html_uri)
    assert "unseen_words_percent" in page
    assert [report.verdict for report in reports.list_reports(settings)] == ["no_drift", "drift"]

    assert served.check(end=later, settings=settings).alert == "firing"
    wait_for(lambda: "succeeded" in home.statuses().values(), what="a finished retraining")
    (key,) = home.trained()
    request = home.requests.get(key)
    assert request is not None
    assert request.evidence_uri == found.report.html_uri
    assert request.model == "banking-intent"

    assert served.check(end=END, settings=settings).alert == "resolved"
    wait_for(lambda: not home.alerts.pending(), what="the resolved alert's outcome")
    assert home.trained() == [key]
    assert {stored.alert.status for stored in home.alerts.alerts()} == {"firing", "resolved"}


def test_too_few_rows_is_no_verdict_on_drift(served: Served) -> None:
    served.serve(3, 20, BASE_INTENTS, end=END)
    result = served.check(end=END)
    assert result.report.verdict == "too_few_rows"
    assert "20 rows" in result.report.reason
    assert result.alert == "none"


def test_a_receiver_that_does_not_answer_loses_no_report(served: Served) -> None:
    served.serve(4, 200, NEW_INTENTS, end=END)
    result = served.check(end=END)
    assert result.report.verdict == "drift"
    assert result.alert.startswith("not sent")
    assert reports.get_report(served.settings, result.report.id) == result.report


def test_a_window_above_the_limit_is_sampled_the_same_way_each_time(served: Served) -> None:
    served.serve(5, 300, BASE_INTENTS, end=END)
    drift = served.settings.drift.model_copy(update={"max_rows": 100})
    settings = served.settings.model_copy(update={"drift": drift})
    first, second = served.check(end=END, settings=settings), served.check(end=END, settings=settings)
    assert first.report.window_rows == second.report.window_rows == 100
    assert first.report.columns == second.report.columns


def test_a_deployment_that_serves_nothing_is_named(served: Served) -> None:
    with pytest.raises(NotFound, match="nobody"):
        job.check_drift(
            DriftCheckSpec(deployment="nobody"), served.settings, SystemClock(), lambda _message, _numbers: None
        )


def test_new_rows_for_a_retraining_are_the_labelled_ones(served: Served, home: Home) -> None:
    served.serve(6, 40, NEW_INTENTS, end=END)
    out = home.path / "new.jsonl"
    assert export_new_rows(DEPLOYMENT, END - timedelta(hours=2), out, 40, settings=served.settings) == 40
    rows = pd.read_json(out, lines=True)
    assert list(rows.columns) == ["id", "text", "label", "group", "event_time"]
    assert set(rows["label"]) <= set(NEW_INTENTS)
    with pytest.raises(InvalidInput, match="40 requests"):
        export_new_rows(DEPLOYMENT, END - timedelta(hours=2), home.path / "more.jsonl", 41, settings=served.settings)
    assert not (home.path / "more.jsonl").exists()
