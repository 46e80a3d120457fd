"""Alertmanager's webhook, version 4 of the payload.

Contract: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. Alertmanager signs nothing, so the
sender is known by a bearer token (`http_config.authorization`). `endsAt` is the zero time while an alert fires, and
both members of a highly available pair deliver. Fields that later versions add are ignored.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitoring.alerts.sources.base import AuthenticationError, InvalidDelivery
from tidegate.domain.drift import Alert

_FNV_OFFSET = 0xCBF29CE484222325  # FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv/
_FNV_PRIME = 0x100000001B3
_SEPARATOR = 0xFF
_MAX_ALERTS = 10_000
_MAX_NAME = 200  # they become keys of rows and names of runs
_SHOWN_PROBLEMS = 3


class AlertmanagerSource:
    """POST /v1/alerts/alertmanager."""

    name = "alertmanager"

    def authenticate(self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
        """`Authorization: Bearer <token>`, compared in constant time."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, secret.encode()):
            raise AuthenticationError(
                "the delivery carries no valid bearer token",
                next_step="Set http_config.authorization.credentials of the webhook to the receiver's token.",
            )

    def parse(self, document: Any) -> list[Alert]:
        try:
            webhook = _Webhook.model_validate(document)
        except ValidationError as error:
            raise InvalidDelivery(
                f"the body is not an Alertmanager v4 webhook: {_problems(error)}",
                next_step="Send the payload of Alertmanager's webhook_config unchanged.",
            ) from None
        return [_to_alert(alert) for alert in webhook.alerts]


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set: 16 hex digits of FNV-1a over sorted names and values.

    Formula: `labelSetToFingerprint` in github.com/prometheus/common/model/signature.go.
    """
    value = _FNV_OFFSET
    for name in sorted(labels):
        for byte in (*name.encode(), _SEPARATOR, *labels[name].encode(), _SEPARATOR):
            value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Alert(_Payload):
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: AwareDatetime = Field(alias="startsAt")
    ends_at: AwareDatetime | None = Field(default=None, alias="endsAt")
    generator_url: str | None = Field(default=None, alias="generatorURL")
    fingerprint: str = Field(min_length=1, max_length=128)

    @field_validator("labels")
    @classmethod
    def _names_fit(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in ("alertname", "model", "deployment"):
            if len(labels.get(name, "")) > _MAX_NAME:
                raise ValueError(f"label {name!r} is longer than {_MAX_NAME} characters")
        return labels


class _Webhook(_Payload):
    version: Literal["4"]
    group_key: str = Field(default="", alias="groupKey")
    status: Literal["firing", "resolved"]
    alerts: list[_Alert] = Field(max_length=_MAX_ALERTS)


def _to_alert(alert: _Alert) -> Alert:
    # The zero time of Go means "not ended": 0001-01-01T00:00:00Z.
    ended = alert.ends_at is not None and alert.ends_at.year > 1
    try:
        return Alert(
            source=AlertmanagerSource.name,
            fingerprint=alert.fingerprint,
            status=alert.status,
            name=alert.labels.get("alertname", "unnamed"),
            model=alert.labels.get("model"),
            deployment=alert.labels.get("deployment"),
            labels=alert.labels,
            annotations=alert.annotations,
            starts_at=alert.starts_at,
            ends_at=alert.ends_at if ended else None,
            generator_url=alert.generator_url,
        )
    except (ValidationError, OverflowError) as error:  # a time that has no place in UTC, such as year 1 at +14:00
        raise InvalidDelivery(
            f"the alert {alert.fingerprint!r} has a time that cannot be read: {error.__class__.__name__}",
            next_step="Send startsAt and endsAt as RFC 3339 times.",
        ) from None


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'body'}: {p['msg']}" for p in found[:_SHOWN_PROBLEMS])
    more = len(found) - _SHOWN_PROBLEMS
    return f"{shown}; and {more} more" if more > 0 else shown
