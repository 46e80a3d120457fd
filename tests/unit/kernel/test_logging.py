import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tidegate.logging import configure, get_logger


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def test_a_line_is_json_with_time_service_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure("gateway")
    get_logger("routing").info("epoch acknowledged", epoch=7)
    (line,) = lines(capsys)
    assert (line["event"], line["epoch"], line["service"], line["logger"], line["level"]) == (
        "epoch acknowledged",
        7,
        "gateway",
        "routing",
        "info",
    )
    assert str(line["time"]).endswith("Z")


def test_vendors_log_in_the_same_form_and_below_the_level_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure("gateway", "WARNING")
    logging.getLogger("vendor").info("quiet")
    get_logger("own").info("quiet")
    logging.getLogger("vendor").warning("loud %s", 3)
    (line,) = lines(capsys)
    assert (line["event"], line["service"]) == ("loud 3", "gateway")


def test_secrets_do_not_reach_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure("gateway")
    get_logger("auth").warning("refused", Authorization="Bearer tg-1", token="tg-2", api_key="tg-3")
    assert "tg-" not in capsys.readouterr().out


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("gateway")
    try:
        int("bad\nvalue")
    except ValueError:
        get_logger("x").exception("failed")
    (line,) = lines(capsys)
    assert line["event"] == "failed"
    assert "ValueError" in json.dumps(line["exception"])
