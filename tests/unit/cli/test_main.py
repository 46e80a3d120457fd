import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from tidegate.cli import main as cli
from tidegate.cli.exit_codes import EXIT_CODES

HEAVY = ("mlflow", "ray", "feast", "kfp", "torch", "transformers", "peft", "evidently", "pandas", "sqlalchemy", "rich")


def run(*args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tidegate.cli.main", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "120"})


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_listed_command_resolves_and_explains_itself(name: str) -> None:
    command = cli.load_command(name)
    assert command.name == name
    result = CliRunner().invoke(cli.app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output


def test_help_lists_every_command_and_exit_code() -> None:
    result = run("--help")
    assert result.returncode == 0
    for name, (panel, line) in cli.COMMANDS.items():
        assert name in result.stdout
        assert panel in result.stdout
        assert line in " ".join(result.stdout.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in " ".join(result.stdout.split())


def test_help_loads_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tidegate.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('tidegate.')), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages, own = result.stderr.strip().splitlines()
    assert not set(packages.split()) & set(HEAVY)
    assert own.split() == ["tidegate.cli", "tidegate.cli.exit_codes", "tidegate.cli.main"]


def test_a_mistyped_command_is_a_usage_error_with_a_guess() -> None:
    result = run("ledgr")
    assert result.returncode == 2
    assert "Did you mean 'ledger'?" in result.stderr


def test_the_version_is_the_distributions() -> None:
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("tidegate 0.")


def test_a_module_that_breaks_the_convention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("tidegate.cli.both")
    module.app, module.command = typer.Typer(), print  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tidegate.cli.both", module)
    with pytest.raises(TypeError, match="either 'app'"):
        cli.load_command("both")
