"""`tidegate down`: stop the embedded platform."""

from __future__ import annotations

from tidegate.cli.output import console


def command() -> None:
    """Stop the platform on this machine, retrainings included. Its state stays; `tidegate up` goes on with it.

    A `tidegate run` in another terminal fails then, and can be started again under its name.
    """
    from tidegate.local.platform import LocalPlatform  # noqa: PLC0415 - see up

    out = console(stderr=True)
    if not LocalPlatform().down(lambda line: out.print(f"  {line}", highlight=False)):
        out.print("nothing was running")
