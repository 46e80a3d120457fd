import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tidegate.errors as tree
from tidegate.cli.errors import explain, report
from tidegate.cli.exit_codes import EXIT_CODES
from tidegate.domain.resources import ModelRuntime
from tidegate.errors import Conflict, TidegateError

CLASSES = [cls for cls in vars(tree).values() if isinstance(cls, type) and issubclass(cls, TidegateError)]


def test_every_class_of_error_has_a_documented_exit_code_of_its_own() -> None:
    codes = [cls.exit_code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert set(codes) | {0, 130} == set(EXIT_CODES)


def test_an_error_is_one_message_and_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    code = report(Conflict("epoch 3 comes too late", next_step="Read the table again."))
    captured = capsys.readouterr()
    assert (code, captured.out) == (4, "")
    assert captured.err == "error: epoch 3 comes too late\nnext: Read the table again.\n"


def test_a_wrong_manifest_names_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"metadata": {"name": "Bad Name"}, "spec": {"baseModel": {}, "engine": {"maxAdapters": 0, "gpu": 1}}}
    with pytest.raises(ValueError, match="validation") as caught:
        ModelRuntime.model_validate(manifest)
    assert report(caught.value) == 2
    message = capsys.readouterr().err
    for path in ("metadata.name", "spec.baseModel.uri", "spec.engine.maxAdapters", "spec.engine.gpu"):
        assert f"  {path}: " in message
    assert "'Bad Name'" in message
    assert "Traceback" not in message
    assert "errors.pydantic.dev" not in message


def test_a_missing_package_says_what_to_install_and_our_own_is_a_bug() -> None:
    problem, next_step, code = explain(ModuleNotFoundError("No module", name="mlflow.tracking"))
    assert "'mlflow'" in problem
    assert "pip install" in next_step
    assert code == 5
    assert explain(ModuleNotFoundError("No module", name="tidegate.cli.gone"))[2] == 1


def test_a_traceback_is_shown_only_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TIDEGATE_DEBUG", raising=False)
    assert report(ZeroDivisionError("division")) == 1
    assert "Traceback" not in capsys.readouterr().err.replace("report the traceback", "")
    monkeypatch.setenv("TIDEGATE_DEBUG", "1")
    report(ZeroDivisionError("division"))
    assert "ZeroDivisionError: division" in capsys.readouterr().err


def tidegate(*args: str, home: Path) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "TIDEGATE_HOME": str(home)}
    command = [sys.executable, "-m", "tidegate.cli.main", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_bad_input_gives_no_traceback_in_a_real_process(tmp_path: Path) -> None:
    result = tidegate("ledger", "list", home=tmp_path)
    assert result.returncode == 3
    assert result.stderr.startswith("error: there is no database at")
    assert "Traceback" not in result.stderr
    debugged = tidegate("--debug", "ledger", "list", home=tmp_path)
    assert debugged.returncode == 3
    assert "Traceback" in debugged.stderr


def signalled(number: signal.Signals) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that is sent a signal in the middle of its work."""
    code = (
        "import signal, time\nfrom tidegate.cli import main\n"
        # A shell starts its background jobs, and so perhaps these tests, with the interrupt ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait():\n    try:\n        print('waiting', flush=True)\n        time.sleep(60)\n"
        "    finally:\n        print('ended', flush=True)\n"
        "import sys\nmodule = type(sys)('tidegate.cli.status')\nmodule.command = wait\n"
        "sys.modules['tidegate.cli.status'] = module\nmain.main(['status'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    out, stderr = process.communicate(timeout=30)
    return process.returncode, out, stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_has_its_exit_code_and_ends_what_was_begun(number: signal.Signals, code: int) -> None:
    returned, out, stderr = signalled(number)
    assert returned == code
    assert out == "ended\n"
    assert "Traceback" not in stderr
