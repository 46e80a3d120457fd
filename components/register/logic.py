"""Makes one model version of an evaluated adapter: files first, checked; then the version; then its nomination.

Whatever step it dies at, no reader sees a half version, and running the same key again finishes the work: files
without a version are deleted, a version without its ready tag is completed, a set alias is left where it is.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components._payload import parse_payload
from components.evaluate.inference import prompts
from components.register.base_store import file_digests, store_base
from components.register.card import model_card
from components.register.inputs import RegisterInputs, read_inputs
from components.register.lineage import code_commit
from components.register.records import metrics, params
from components.register.reference import write_reference_logits
from components.register.shipped import requirements, ship_code
from components.register.spec import RegisterResult, RegisterSpec
from monitoring.drift.reference import write_reference
from tidegate.adapters import storage
from tidegate.adapters.base_model_files import model_files, tokenizer_digest
from tidegate.adapters.mlflow_models import MlflowModels, ModelParts, PendingModel, load_model, write_model_folder
from tidegate.adapters.mlflow_registry import ADAPTER_PATH, UNASSIGNED, VERSION_PATH, MlflowRegistry
from tidegate.clock import Clock, SystemClock
from tidegate.domain.version import AdapterInfo, Lineage, ModelVersion
from tidegate.errors import ContractBroken
from tidegate.ports import Progress
from tidegate.settings import Settings, load_settings

REFERENCE_PROMPTS = 2  # conversations whose logits are kept: 0.2 MB each

CARD_PATH = "artifacts/tidegate/model_card.md"
_REFERENCE_PATH = "artifacts/tidegate/reference.parquet"


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The job: `RegisterSpec` in, `RegisterResult` out.

    Raises:
        GateFailed: the report neither passed its gate nor carries an override.
        ContractBroken: attestation, digests or the reloaded logits do not hold.
        Unavailable: MLflow does not answer; running the same again is safe.
    """
    spec = parse_payload(RegisterSpec, payload)
    return register(spec, load_settings(), SystemClock(), progress).model_dump(mode="json")


def register(spec: RegisterSpec, settings: Settings, clock: Clock, progress: Progress) -> RegisterResult:
    """Finds or makes the version of `spec.key`, nominates it, and writes both down in the ledger."""
    registry = MlflowRegistry(settings.mlflow_uri, cache=settings.cache)
    version = registry.by_key(spec.name, spec.key)
    created = version is None
    if version is None:
        version = _make(spec, settings, clock, progress, registry)
    else:
        progress(f"{version.key} carries the key {spec.key} already", {})
    _nominate(spec, version, settings, clock, registry)
    if spec.alias:
        progress(f"{version.key} is nominated as {spec.alias}", {})
    location = version.adapter.uri.removesuffix(f"/{ADAPTER_PATH}")
    return RegisterResult(
        version=version,
        created=created,
        model_uri=location,
        card=storage.read_text(storage.join(location, CARD_PATH)),
    )


def _make(
    spec: RegisterSpec, settings: Settings, clock: Clock, progress: Progress, registry: MlflowRegistry
) -> ModelVersion:
    inputs = read_inputs(spec, settings)
    models = MlflowModels(settings.mlflow_uri)
    pending = models.begin(
        spec.name,
        key=spec.key,
        run_name=spec.pipeline_run,
        tags={
            "tidegate.pipeline-run": spec.pipeline_run,
            **({"tidegate.trigger": spec.trigger} if spec.trigger else {}),
        },
    )
    base_uri = store_base(inputs.base.folder, inputs.base.ref.digest, pending.store)
    version = _version(spec, inputs, pending, base_uri, clock)
    card = model_card(version, inputs.manifest, training=inputs.training)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-register-"))
    try:
        progress("writing the model and its reference logits", {})
        documents = _write_documents(folder / "parts", inputs, version, card)
        parts = ModelParts(
            code_file=Path(__file__).with_name("model.py"),
            artifacts=documents,
            features=version.prompt.features,
            generation=version.generation,
            example=_example(inputs),
            requirements=requirements(),
            metadata={"tidegate.name": spec.name, "tidegate.base-digest": inputs.base.ref.digest},
        )
        write_model_folder(folder / "model", pending, parts)
        models.record(pending, params=params(inputs), metrics=metrics(inputs))
        models.attach(
            pending,
            {
                "manifest.json": inputs.manifest.model_dump_json(indent=2).encode(),
                "model_card.md": card.encode(),
                "evaluation.html": storage.read_bytes(storage.join(spec.evaluation_uri, "report.html")),
            },
        )
        models.publish(pending, folder / "model")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    progress("loading the model back and comparing its logits", {})
    _verify(pending)
    registered = registry.register(version, run_id=pending.run_id, idempotency_key=spec.key)
    if registered.adapter.uri != version.adapter.uri:  # the same key was registered meanwhile by another process
        models.discard(pending)
    return registered


def _version(
    spec: RegisterSpec, inputs: RegisterInputs, pending: PendingModel, base_uri: str, clock: Clock
) -> ModelVersion:
    config = json.loads((inputs.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return ModelVersion(
        name=spec.name,
        version=UNASSIGNED,
        base=inputs.base.ref.model_copy(update={"uri": base_uri}),
        adapter=AdapterInfo(
            uri=storage.join(pending.location, ADAPTER_PATH),
            digest=inputs.report.candidate,
            rank=config["r"],
            target_modules=tuple(sorted(config["target_modules"])),
            size_bytes=(inputs.adapter / "adapter_model.safetensors").stat().st_size,
        ),
        prompt=inputs.template,
        generation=inputs.report.generation,
        tokenizer_digest=tokenizer_digest(inputs.base.folder),
        report=inputs.report,
        attestation=inputs.attestation,
        lineage=Lineage(
            data_digest=inputs.manifest.content_digest,
            commit=code_commit(),
            feature_views=inputs.template.feature_views,
            pipeline_run=spec.pipeline_run,
            parent_version=spec.parent_version,
            trigger=spec.trigger,
        ),
        reference_uri=storage.join(pending.location, _REFERENCE_PATH),
        created_at=clock.now(),
    )


def _write_documents(folder: Path, inputs: RegisterInputs, version: ModelVersion, card: str) -> dict[str, Path]:
    """The model's artifacts by name: adapter, tokenizer, code, and the documents."""
    places = {name: folder / name for name in ("adapter", "tokenizer", "code", "tidegate")}
    for place in places.values():
        place.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(inputs.adapter / name, places["adapter"] / name)
    for name, path in model_files(inputs.base.folder).items():
        if not name.endswith(".safetensors"):  # tokenizer, chat template, and config.json, which names their class
            shutil.copyfile(path, places["tokenizer"] / name)
    ship_code(places["code"])
    documents = places["tidegate"]
    base = {**version.base.model_dump(), "files": file_digests(inputs.base.folder)}
    texts = {
        Path(VERSION_PATH).name: version.model_dump_json(indent=2),
        "prompt.json": version.prompt.model_dump_json(indent=2),
        "generation.json": version.generation.model_dump_json(indent=2),
        "base.json": json.dumps(base, indent=2),
        "manifest.json": inputs.manifest.model_dump_json(indent=2),
        Path(CARD_PATH).name: card,
    }
    for name, text in texts.items():
        (documents / name).write_text(text, encoding="utf-8")
    features = [name for name in inputs.template.features if name in inputs.predictions.columns]
    window = inputs.predictions[["text", "label", "prediction", "correct", "group", *features]]
    write_reference(window, str(documents / Path(_REFERENCE_PATH).name), labels=inputs.template.labels)
    conversations = prompts(inputs.predictions.head(REFERENCE_PROMPTS), inputs.template)
    write_reference_logits(inputs.base.folder, inputs.adapter, conversations, documents)
    return places


def _example(inputs: RegisterInputs) -> dict[str, Any]:
    """One real (redacted) row of the test split, as a caller would send it."""
    row = inputs.predictions.iloc[0].to_dict()
    features = {name: str(row[name]) for name in inputs.template.features if row.get(name) is not None}
    return {"text": str(row["text"]), **features}


def _verify(pending: PendingModel) -> None:
    """Loads what was just written the way anyone will; the model checks its own logits while loading."""
    try:
        load_model(pending.location)
    except RuntimeError as error:
        raise ContractBroken(
            f"the model written to {pending.location} does not load as it was trained: {error}",
            next_step="Nothing was registered. Run again; if it repeats, the base model's files are to be suspected.",
        ) from error


def _nominate(
    spec: RegisterSpec, version: ModelVersion, settings: Settings, clock: Clock, registry: MlflowRegistry
) -> None:
    """Alias and ledger. What the ledger holds already is not done again: a late rerun must not take an alias back."""
    from tidegate.db import Database  # noqa: PLC0415  sqlalchemy takes half a second
    from tidegate.ledger import Ledger  # noqa: PLC0415

    ledger = Ledger(Database.open(settings.database_url, migrate=True), clock)
    if not ledger.entries(kind="version.registered", subject=version.key):
        ledger.append(
            "version.registered",
            version.key,
            {
                "key": spec.key,
                "adapter_digest": version.adapter.digest,
                "base_digest": version.base.digest,
                "data_digest": version.lineage.data_digest,
                "commit": version.lineage.commit,
                "pipeline_run": version.lineage.pipeline_run,
                "trigger": version.lineage.trigger,
                "report_digest": version.attestation.report_digest,
                "gate": "passed" if version.report.gate.passed else "overridden",
            },
            actor="pipeline",
        )
    if not spec.alias:
        return
    subject = f"{spec.name}@{spec.alias}"
    named = ledger.entries(kind="alias.set", subject=subject)
    if any(entry.payload.get("version") == version.version for entry in named):
        return
    registry.set_alias(spec.name, spec.alias, version.version)
    ledger.append("alias.set", subject, {"version": version.version, "key": spec.key}, actor="pipeline")
