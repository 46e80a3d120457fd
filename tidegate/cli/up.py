"""`tidegate up`: start the embedded platform."""

from __future__ import annotations

from tidegate.cli.output import console


def command() -> None:
    """Start the platform on this machine: MLflow, Ray, gateway, controller, scorer and alert receiver.

    What runs already is left alone, and a part that died is started again: running it twice is harmless. Free ports
    are found once and remembered. State lies in one folder (TIDEGATE_HOME).
    """
    from tidegate.local.platform import LocalPlatform  # noqa: PLC0415 - the part's libraries, not needed for --help

    out = console(stderr=True)
    platform = LocalPlatform()
    if not platform.up(lambda line: out.print(f"  {line}", highlight=False)):
        out.print("everything runs already")
    settings = platform.settings
    out.print(f"gateway   {settings.gateway_url}/v1")
    out.print(f"MLflow    {settings.mlflow_uri}")
    out.print(f"receiver  {settings.receiver_url}")
    out.print("next: tidegate apply -f examples/local/, or tidegate demo")
