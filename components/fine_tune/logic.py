"""Fine-tunes: resolves addresses, trains in Ray Train, records to MLflow, leaves an adapter and what was done.

A run that is asked for again with the same specification, after it had trained but could not be recorded, is recorded
from what it left; it does not train twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components._payload import parse_payload
from components.evaluate.inputs import resolve_base
from components.fine_tune.distribute import find_hardware, run_training
from components.fine_tune.loop import LoopSpec
from components.fine_tune.spec import FineTuneResult, FineTuneSpec
from components.fine_tune.start import Start, find_start, same_base
from components.fine_tune.summary import markdown
from tidegate.adapters import storage
from tidegate.adapters.base_model import ResolvedBase
from tidegate.adapters.mlflow_live import LiveRun
from tidegate.domain.training import TrainingResult
from tidegate.errors import Unavailable
from tidegate.ids import digest_json
from tidegate.ports import Progress
from tidegate.settings import load_settings

_HISTORY = "history.json"


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The job: FineTuneSpec in, FineTuneResult out, both as JSON.

    Raises:
        InvalidInput, NotFound, ContractBroken: the rows, the base or the adapter to continue from cannot be used.
        Unavailable: a worker died; or the training is done and saved, but MLflow did not come back to record it.
    """
    spec = parse_payload(FineTuneSpec, payload)
    settings = load_settings()
    base = resolve_base(spec.base, settings.cache)
    start = None
    if spec.training.start_from is not None:
        start = find_start(spec.training.start_from, settings)
        base = same_base(base, start, spec.training.start_from)
    digest = digest_json({"spec": spec.model_dump(mode="json"), "base": base.ref.digest})
    live = LiveRun(
        spec.mlflow_uri or settings.mlflow_uri,
        experiment=spec.experiment,
        name=spec.run_name,
        params=_params(spec, base),
        tags=spec.tags,
    )
    done = False
    try:
        left = _left_behind(spec.out_uri, digest)
        if left is None:
            result, history = _train(spec, base, start, progress, live)
            storage.write_text(storage.join(spec.out_uri, "training_result.json"), result.model_dump_json(indent=2))
            record = {"digest": digest, "history": history}
            storage.write_text(storage.join(spec.out_uri, _HISTORY), json.dumps(record))
        else:
            result, history = left
            progress("the adapter of this specification is there already: recording it", {})
            for numbers in history:
                live.log(_metrics(numbers), int(numbers["step"]))
        done = True
    finally:
        run_id = _close(live, spec, done=done)
    return FineTuneResult(
        uri=spec.out_uri,
        adapter_uri=result.adapter_uri,
        base=base.ref,
        rank=spec.training.lora.rank,
        result=result,
        mlflow_run_id=run_id,
        resumed=left is not None,
        markdown=markdown(spec, base.ref, result, history),
    ).model_dump(mode="json")


def _train(
    spec: FineTuneSpec, base: ResolvedBase, start: Start | None, progress: Progress, live: LiveRun
) -> tuple[TrainingResult, list[dict[str, float]]]:
    history: list[dict[str, float]] = []
    hardware = find_hardware(spec.training.workers, load_settings().training.gpus)
    progress(f"training with {hardware.told}", {"workers": float(hardware.workers)})

    def watch(message: str, numbers: Mapping[str, float]) -> None:
        progress(message, numbers)
        if "step" in numbers:
            history.append(dict(numbers))
            live.log(_metrics(numbers), int(numbers["step"]))

    # A price that the run does not name is that of the machine or, on a cluster, of the node pool.
    settings = load_settings()
    price = spec.training.price_per_hour or settings.training.price_per_hour
    loop = LoopSpec(
        training=spec.training.model_copy(update={"price_per_hour": price}),
        device=hardware.device,
        base=base.ref,
        start_uri=start.uri if start else None,
        data_uri=spec.data_uri,
        adapter_uri=storage.join(spec.out_uri, "adapter"),
        cache=str(settings.cache),
    )
    return run_training(loop, hardware, watch), history


def _left_behind(out_uri: str, digest: str) -> tuple[TrainingResult, list[dict[str, float]]] | None:
    """What an earlier run of the same specification left when it had trained."""
    address = storage.join(out_uri, _HISTORY)
    if not storage.exists(address):
        return None
    record = json.loads(storage.read_text(address))
    if record["digest"] != digest:
        return None
    result = storage.read_text(storage.join(out_uri, "training_result.json"))
    return TrainingResult.model_validate_json(result), record["history"]


def _close(live: LiveRun, spec: FineTuneSpec, *, done: bool) -> str:
    if not done:
        try:
            return live.close(status="FAILED", patience=2.0)
        except Unavailable:
            return ""  # the training's own error is the one to tell
    try:
        return live.close()
    except Unavailable as error:
        raise type(error)(
            f"the training is done and its adapter is in {spec.out_uri}, but {error.problem}", next_step=error.next_step
        ) from error


def _metrics(numbers: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in numbers.items() if key not in {"step", "of"}}


def _params(spec: FineTuneSpec, base: ResolvedBase) -> dict[str, Any]:
    known = {"base": base.ref.name, "base_digest": base.ref.digest, "data_uri": spec.data_uri}
    return known | spec.training.flat()
