"""`POST /v1/feedback`: labels and ratings, stored durably before the answer.

A *label* is the truth, independent of what was answered; it joins both arms of a pair. A *rating* belongs to the
answer that was shown. They are separate permissions, because only allow-listed labels may decide a rollout.

Feedback for an unknown request id is taken: the label may come before the log row was written, or through another
gateway than the answer. What cannot be joined later is simply never used.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.gateway.auth import Principal, authorize, require
from serving.gateway.body import read_json
from serving.gateway.fields import key, missing, number, optional, required, wrong_type
from serving.gateway.openai_errors import ApiError, bad_request, unavailable
from serving.gateway.parts import Parts
from tidegate.domain.evidence import Feedback
from tidegate.errors import TidegateError
from tidegate.ids import new_id
from tidegate.logging import get_logger

_log = get_logger(__name__)
MAX_ITEMS = 1000
MAX_REQUEST_ID_CHARS = 128
_FIELDS = {"request_id", "label", "rating", "model"}


class FeedbackApi:
    """Takes one object, or a list of up to `MAX_ITEMS`: all are stored, or none."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def post(self, request: Request) -> Response:
        header = request.headers.get("authorization")
        principal = authorize(self._parts.authenticate, header, "feedback:label", "feedback:rating")
        body = await read_json(request, self._parts.limits.max_body_bytes)
        single = not isinstance(body, list)
        items = _items(body)
        feedback = [self._parse(item, "" if single else f"[{i}].", principal) for i, item in enumerate(items)]
        try:
            await asyncio.to_thread(lambda: self._parts.evidence().add_feedback(feedback))
        except (TidegateError, OSError) as error:
            _log.warning("feedback not stored", items=len(feedback), problem=str(error))
            raise unavailable("The feedback could not be stored. Send it again.", code="store_unavailable") from None
        for entry in feedback:
            self._parts.metrics.feedback.labels(entry.kind).inc()
        data = [{"object": "feedback", "id": f.id, "request_id": f.request_id, "kind": f.kind} for f in feedback]
        return JSONResponse(data[0] if single else {"object": "list", "data": data})

    def _parse(self, item: Any, path: str, principal: Principal) -> Feedback:
        try:
            return self._feedback(item, principal)
        except ApiError as error:
            if path and error.status == 400:
                param = path.rstrip(".") if error.param is None else f"{path}{error.param}"
                raise bad_request(f"Item {path.rstrip('.')}: {error.message}", param=param, code=error.code) from None
            raise

    def _feedback(self, item: Any, principal: Principal) -> Feedback:
        if not isinstance(item, dict):
            raise wrong_type("body", "an object with 'request_id' and 'label' or 'rating'", item)
        given = {name: value for name, value in item.items() if value is not None}
        if unknown := sorted(set(given) - _FIELDS):
            raise bad_request(
                f"Unknown parameter: '{unknown[0][:80]}'.", param=unknown[0][:80], code="unknown_parameter"
            )
        request_id = required(given, "request_id", key)
        if len(request_id) > MAX_REQUEST_ID_CHARS:
            raise bad_request(
                f"'request_id' has more than {MAX_REQUEST_ID_CHARS} characters.",
                param="request_id",
                code="invalid_value",
            )
        if ("label" in given) == ("rating" in given):
            if "label" in given:
                raise bad_request("Give either 'label' or 'rating', not both.", param="rating", code="invalid_value")
            raise missing("label")
        kind = "label" if "label" in given else "rating"
        require(principal, "feedback:label" if kind == "label" else "feedback:rating")
        value = required(given, "label", key) if kind == "label" else repr(required(given, "rating", number(0.0, 1.0)))
        return Feedback.model_validate(
            {
                "id": new_id(),
                "request_id": request_id,
                "deployment": self._deployment(optional(given, "model", key)),
                "kind": kind,
                "value": value.strip() or _empty_label(),
                "source": principal.name,
                "time": self._parts.clock.now(),
            }
        )

    def _deployment(self, model: str | None) -> str:
        """The deployment that a feedback belongs to: named, or the only one there is."""
        tables = self._parts.watch.tables
        if model is not None:
            table = tables.get(model)
            if table is None:
                message = (
                    f"The model {model[:100]!r} is not served here. Models: {', '.join(sorted(tables)) or 'none'}."
                )
                raise bad_request(message, param="model", code="model_not_found")
            return table.deployment
        if len(tables) != 1:
            message = f"Name the 'model' that answered, one of: {', '.join(sorted(tables)) or 'none is served yet'}."
            raise bad_request(message, param="model", code="missing_required_parameter")
        return next(iter(tables.values())).deployment


def _items(body: Any) -> list[Any]:
    if not isinstance(body, list):
        return [body]
    if not 0 < len(body) <= MAX_ITEMS:
        raise bad_request(f"A list of feedback has 1 to {MAX_ITEMS} items, not {len(body)}.", code="invalid_value")
    return body


def _empty_label() -> str:
    raise bad_request("'label' is empty.", param="label", code="empty_string")
