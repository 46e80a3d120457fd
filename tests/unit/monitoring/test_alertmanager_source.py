"""Bodies of any kind become alerts or a reason, never anything else."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.alerts.body import MAX_DEPTH, parse_json
from monitoring.alerts.client import OwnAlert, webhook
from monitoring.alerts.sources.alertmanager import AlertmanagerSource, fingerprint
from monitoring.alerts.sources.base import AuthenticationError, InvalidDelivery

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = AlertmanagerSource()
VALID = webhook(OwnAlert(labels={"alertname": "ModelDrift", "model": "banking-intent"}), starts_at=NOW, ends_at=None)


def test_a_firing_alert_has_no_end() -> None:
    (alert,) = SOURCE.parse(VALID)
    assert alert.ends_at is None
    assert alert.model == "banking-intent"
    assert alert.starts_at == NOW


def test_fields_of_later_versions_are_ignored() -> None:
    assert SOURCE.parse({**VALID, "novelty": {"a": 1}})


@pytest.mark.parametrize(
    "change",
    [
        {"version": "5"},
        {"alerts": None},
        {"alerts": [{}]},
        {"alerts": [{**VALID["alerts"][0], "startsAt": "yesterday"}]},
        {"alerts": [{**VALID["alerts"][0], "startsAt": "0001-01-01T00:00:00+14:00"}]},
        {"alerts": [{**VALID["alerts"][0], "startsAt": 1e300}]},
        {"alerts": [{**VALID["alerts"][0], "labels": {"model": "m" * 300}}]},
        {"alerts": [{**VALID["alerts"][0], "fingerprint": ""}]},
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidDelivery) as caught:
        SOURCE.parse({**VALID, **change})
    assert caught.value.next_step


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b'{"a": "\x00"}',
    ],
)
def test_hostile_bodies_are_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(InvalidDelivery):
        parse_json(body)


def test_brackets_in_strings_are_text() -> None:
    assert parse_json(json.dumps({"a": '["' * 1000}).encode()) == {"a": '["' * 1000}
    with pytest.raises(InvalidDelivery, match="deeper"):
        parse_json(("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).encode())


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=400) | _json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_become_alerts_or_a_reason(body: bytes) -> None:
    with suppress(InvalidDelivery):
        SOURCE.parse(parse_json(body))


@given(field=st.sampled_from(sorted(VALID["alerts"][0])), value=_json)
def test_any_value_in_any_field_becomes_alerts_or_a_reason(field: str, value: Any) -> None:
    document = {**VALID, "alerts": [{**VALID["alerts"][0], field: value}]}
    try:
        alerts = SOURCE.parse(parse_json(json.dumps(document).encode()))
    except InvalidDelivery:
        return
    for alert in alerts:
        alert.model_dump_json()  # what is accepted can be stored


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic secret", "Bearer secret x", "bearer sécret"])
def test_a_delivery_without_the_token_is_refused(header: str) -> None:
    with pytest.raises(AuthenticationError):
        SOURCE.authenticate({"authorization": header}, b"", secret="secret", now=NOW)


def test_the_token_is_accepted() -> None:
    SOURCE.authenticate({"authorization": "Bearer secret"}, b"", secret="secret", now=NOW)


def test_the_fingerprint_of_no_labels_is_the_offset_of_fnv() -> None:
    assert fingerprint({}) == "cbf29ce484222325"
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})
    assert fingerprint({"a": "b"}) != fingerprint({"a": "c"})
