"""The model card (Mitchell et al. 2019, arXiv:1810.03993) of a version, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from components.evaluate.report import format_value, verdict_line
from tidegate.domain.manifest import DataManifest
from tidegate.domain.training import TrainingResult
from tidegate.domain.version import ModelVersion


def model_card(
    version: ModelVersion,
    manifest: DataManifest,
    *,
    training: TrainingResult | None,
) -> str:
    """Everything a reader needs to decide whether to use the version; an override comes first."""
    sections = [
        f"# {version.name}",
        _verdict(version),
        _what(version),
        _data(manifest),
        _training(training),
        _evaluation(version),
        _limits(version, manifest),
        _usage(version),
        _lineage(version),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _verdict(version: ModelVersion) -> str:
    line = _plain(verdict_line(version.report))
    return f"> {line}" if version.report.gate.passed else f"> ## ⚠ {line}"


def _what(version: ModelVersion) -> str:
    adapter = version.adapter
    labels = version.prompt.labels
    answers = f"one of {len(labels)} labels: {', '.join(labels)}" if labels else "free text"
    return (
        f"A LoRA adapter of rank {adapter.rank} ({adapter.size_bytes / 1e6:.1f} MB, on "
        f"{', '.join(adapter.target_modules)}) for {version.base.name}. "
        f"It answers a customer's message with {answers}.\n\n"
        f"The prompt's system turn: `{version.prompt.system}`. "
        f"Features: {', '.join(version.prompt.features) or 'none'}."
        f" Generation: at most {version.generation.max_tokens} tokens, temperature {version.generation.temperature:g}."
    )


def _data(manifest: DataManifest) -> str:
    stages = [
        (
            stage.stage,
            str(stage.rows_in),
            str(stage.rows_out),
            ", ".join(f"{reason} {count}" for reason, count in sorted(stage.dropped.items()) if count) or "none",
        )
        for stage in manifest.stages
    ]
    splits = [
        (
            split.name,
            str(split.rows),
            str(split.groups),
            f"{split.start:%Y-%m-%d} to {split.end:%Y-%m-%d}" if split.start and split.end else "",
        )
        for split in manifest.splits
    ]
    pii = ", ".join(f"{kind} {count}" for kind, count in sorted(manifest.pii_findings.items()) if count) or "none"
    synthetic = ", ".join(manifest.synthetic_columns)
    invented = (
        f"**Invented by the platform, independent of the label:** {synthetic}. Do not read meaning into them."
        if synthetic
        else "No column was invented."
    )
    return "\n\n".join(
        [
            "## Data",
            f"Source {manifest.source}. Row accounting:",
            _table(("stage", "rows in", "rows out", "dropped, by reason"), stages),
            _table(("split", "rows", "customers", "time"), splits),
            f"Personal data redacted: {pii}. Duplicates across splits: {manifest.duplicates_across_splits}.",
            invented,
        ]
    )


def _training(training: TrainingResult | None) -> str:
    if training is None:
        return ""
    facts = (
        f"{training.steps} steps, {training.train_tokens} tokens in {training.seconds:.0f} s "
        f"({training.tokens_per_second:.0f} tokens/s, {training.precision}, {training.device}, peak memory "
        f"{training.peak_memory_bytes / 2**30:.1f} GiB), loss {training.first_loss:.3f} to {training.final_loss:.3f}, "
        f"seed {training.seed}, cost {training.cost:.4f}."
    )
    known = training.hyperparameters.flat() if training.hyperparameters is not None else {}
    chosen = ", ".join(f"{name} {value}" for name, value in sorted(known.items()) if value is not None)
    return f"## Training\n\n{facts}" + (f"\n\nHyper-parameters: {chosen}." if chosen else "")


def _evaluation(version: ModelVersion) -> str:
    report = version.report
    metrics = [(metric.name, format_value(metric), str(metric.n)) for metric in report.metrics]
    pairs = [
        (
            item.baseline,
            f"{item.difference:+.3f} [{item.interval.low:+.3f}, {item.interval.high:+.3f}]",
            f"{item.wins} won, {item.losses} lost of {item.n}",
        )
        for item in report.comparisons
    ]
    slices = [(item.slice, format_value(item.metric), str(item.metric.n)) for item in report.slices]
    checks = [(check.name, "passed" if check.passed else "FAILED", check.reason) for check in report.gate.checks]
    return "\n\n".join(
        [
            "## Evaluation",
            "On the held-out test split; intervals are 95 %.",
            _table(("metric", "value", "rows"), metrics),
            _table(("compared with, same rows", "difference in exact match", "rows"), pairs),
            _table(("label", "exact match", "rows"), slices),
            _table(("gate check", "outcome", "reason"), checks),
        ]
    )


def _limits(version: ModelVersion, manifest: DataManifest) -> str:
    fewest = min((item.metric.n for item in version.report.slices), default=0)
    points = [
        "Answers outside the set of labels are possible: check them before you act on one.",
        "Messages unlike the data above (other languages, other intents, long texts) were not evaluated.",
        f"The rarest label was judged on {fewest} rows: read the intervals per label, not the values.",
    ]
    if manifest.synthetic_columns:
        points.append("The invented columns carry no information about real customers.")
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points)


def _usage(version: ModelVersion) -> str:
    return (
        "## How to call it\n\n"
        "Behind the gateway it answers under its deployment's name through the OpenAI API. Alone:\n\n"
        "```python\nimport mlflow\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{version.name}/<version>")\n'
        'model.predict([{"text": "where is my card?"}])\n```\n\n'
        "It needs its base model where it was stored, or under `$TIDEGATE_BASE_MODELS/<digest>`; "
        "`tidegate models export` writes a folder that needs nothing else."
    )


def _lineage(version: ModelVersion) -> str:
    lineage = version.lineage
    rows = [
        ("pipeline run", lineage.pipeline_run),
        ("commit", lineage.commit),
        ("data", lineage.data_digest),
        ("base", version.base.digest),
        ("adapter", version.adapter.digest),
        ("tokenizer", version.tokenizer_digest),
        ("feature views", ", ".join(lineage.feature_views) or "none"),
        ("parent version", lineage.parent_version or "none"),
        ("trigger", lineage.trigger or "none"),
        ("made", f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    return "## Lineage\n\n" + _table(("of", "is"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that can neither end a table's cell nor open HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
