"""Structured logs: one JSON object a line on stdout, with time (UTC), level, service and event."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog

# Keys whose values never reach a log line, whoever logs them.
_SECRET_KEYS = frozenset({"authorization", "api_key", "token", "password", "secret", "key_bytes"})

# Without the values of local variables: among them are tokens, prompts and answers.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


def configure(service: str, level: str = "INFO", json: bool = True) -> None:
    """Sets up logging of this process; the standard library's loggers (vendors) come out in the same form.

    Args:
        service: name of the process: 'gateway', 'controller'…
        level: least severe level that is written.
        json: False writes coloured lines for people.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_service(service),
        _hide_secrets,
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(default=str)] if json else [structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry `logger=name`: `log.info("epoch acknowledged", epoch=7)`."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(name))


def _add_service(service: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add


def _hide_secrets(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in event:
        if key.lower() in _SECRET_KEYS:
            event[key] = "***"
    return event
