"""Schedules: recurring runs by name. The same one is kept, another one replaces it.

KFP takes any number of recurring runs of one name, from anybody. Ours are told by their description and experiment, and
no other is touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from pipelines.publish import checked
from tidegate.adapters.kfp_client import KfpApi, PipelineVersion, Schedule
from tidegate.errors import Conflict, InvalidInput, NotFound

Done = Literal["created", "replaced", "unchanged", "enabled", "disabled", "deleted"]
_FIELD = re.compile(r"[0-9A-Za-z*/,?-]+")
_FIELDS = 6
_MACRO = re.compile(r"\[\[(Index|RunUUID|(ScheduledTime|CurrentTime)(\.[^\]]*)?)\]\]")
"""Where KFP's scheduler writes a value of the moment; it leaves any other word in brackets as it is."""
_ONCE: Final = ("run_name", "trigger")
"""Parameters that name a piece of work which is done once: a step finds its job by one, a version its request."""
_OURS: Final = "tidegate:"
_TOLD: Final = "No catching up, one run at a time."


def cron(text: str) -> str:
    """A cron line with seconds, as KFP's scheduler wants it; five fields get a 0 before them.

    Raises:
        InvalidInput: it has not five or six fields.
    """
    if text.startswith("@"):
        return text
    fields = text.split()
    if len(fields) == _FIELDS - 1:
        fields = ["0", *fields]
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        raise InvalidInput(
            f"--cron {text!r} is no schedule",
            next_step="Write minute hour day month weekday, for example '30 2 * * *'; seconds may come before it.",
        )
    return " ".join(fields)


def check_zone(wanted: str, installed: str) -> None:
    """KFP's scheduler has one time zone for all schedules of an installation, and a cron line cannot name another.

    Args:
        installed: what the settings say of the installation, which does not tell it.

    Raises:
        InvalidInput: there is no such zone, or the installation has another.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    if not wanted or wanted == installed:
        return
    try:
        ZoneInfo(wanted)
    except (KeyError, ValueError, OSError):
        raise InvalidInput(
            f"--timezone {wanted!r} is unknown", next_step="Write for example UTC or Europe/Berlin."
        ) from None
    raise InvalidInput(
        f"--timezone {wanted!r} is not the one of this Kubeflow Pipelines, which is {installed!r} as far as "
        "TIDEGATE_KFP__TIMEZONE says: it has one for all schedules, and its API does not tell it",
        next_step="Write the cron line in that zone. If the installation's CRON_SCHEDULE_TIMEZONE is another one, "
        "say so with TIDEGATE_KFP__TIMEZONE.",
    )


def check_repeatable(name: str, arguments: Mapping[str, Any]) -> None:
    """Every run of a schedule does its work.

    Raises:
        InvalidInput: a parameter gives all its runs the same name.
    """
    for parameter in _ONCE:
        value = str(arguments.get(parameter, ""))
        if value and not _MACRO.search(value):
            raise InvalidInput(
                f"parameter {parameter!r} of schedule {name!r} is always {value!r}: from the second time on its runs "
                "would find the work of the first, do nothing and succeed",
                next_step=f"Leave {parameter!r} out, and every run is a new one.",
            )


def ensure(
    api: KfpApi,
    name: str,
    line: str,
    pipeline: str,
    version: PipelineVersion,
    arguments: Mapping[str, Any],
    *,
    enabled: bool = True,
) -> Done:
    """The schedule of this name, as wanted. A changed one is made before the old one goes: none is lost by a crash.

    Raises:
        InvalidInput: an argument does not fit or makes all runs one, or the cron line is refused.
        ContractBroken: the version caches.
        Conflict: somebody else's recurring run has this name.
    """
    arguments = checked(pipeline, version, arguments)
    check_repeatable(name, arguments)
    there = _ours(api, name)
    wanted = Schedule(
        id="",
        name=name,
        pipeline=version.pipeline,
        version=version.id,
        cron=cron(line),
        enabled=enabled,
        max_concurrency=1,
        no_catchup=True,
        parameters=arguments,
        description=f"{_OURS} {pipeline} {version.name}. {_TOLD}",
        service_account=api.settings.service_account,
        experiment=api.experiment(),
    )
    same = [item for item in there if _same(item, wanted)]
    if not same:
        api.create_schedule(wanted)
    for item in there:
        if item not in same[:1]:
            api.delete_schedule(item.id)
    if same and len(there) == 1:
        return "unchanged"
    return "replaced" if there else "created"


def _same(found: Schedule, wanted: Schedule) -> bool:
    plain = replace(found, id="", service_account=found.service_account if wanted.service_account else "")
    return replace(plain, parameters={}) == replace(wanted, parameters={}) and _even(found.parameters) == _even(
        wanted.parameters
    )


def _even(value: Any) -> Any:
    """Numbers come back from JSON as they like."""
    if isinstance(value, Mapping):
        return {key: _even(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_even(item) for item in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def switch(api: KfpApi, name: str, *, enabled: bool) -> Done:
    """Enables or disables the schedule of a name.

    Raises:
        NotFound: there is none.
        Conflict: somebody else's recurring run has this name.
    """
    for item in _must_have(api, name):
        api.enable_schedule(item.id, enabled=enabled)
    return "enabled" if enabled else "disabled"


def delete(api: KfpApi, name: str) -> Done:
    """Ends a schedule. Kubernetes deletes workflows and pods of its runs with it; KFP keeps their records.

    Raises:
        NotFound: there is none.
        Conflict: somebody else's recurring run has this name.
    """
    for item in _must_have(api, name):
        api.delete_schedule(item.id)
    return "deleted"


def _must_have(api: KfpApi, name: str) -> list[Schedule]:
    found = _ours(api, name)
    if not found:
        known = ", ".join(item.name for item in api.schedules() if item.description.startswith(_OURS)) or "none"
        raise NotFound(f"there is no schedule {name!r}", next_step=f"There are: {known}.")
    return found


def _ours(api: KfpApi, name: str) -> list[Schedule]:
    """The schedules of a name.

    Raises:
        Conflict: one of them was not made by tidegate, or in another experiment: another installation's.
    """
    found = api.schedules(name)
    experiment = api.experiment() if found else ""
    for item in found:
        if not item.description.startswith(_OURS):
            whose = f"was not made by tidegate (its description: {item.description[:80]!r})"
        elif item.experiment not in ("", experiment):
            whose = f"belongs to another experiment than {api.settings.experiment!r}"
        else:
            continue
        raise Conflict(
            f"the recurring run {item.id} has the name {name!r} and {whose}",
            next_step="It is left alone. Give yours another name, or delete that one in KFP's pages if it is nobody's.",
        )
    return found
