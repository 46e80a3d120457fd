"""The prepare step. Without postponed annotations: KFP reads the types of the parameters themselves."""

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def prepare(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    data: dsl.Output[dsl.Dataset],
    accounting: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    source_uri: str,
    source_format: str = "auto",
    column_mapping: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP wants a plain default
    intents: list = [],  # type: ignore[type-arg]  # noqa: B006
    per_label_cap: int = 0,
    extra_sources: list = [],  # type: ignore[type-arg]  # noqa: B006
    labels: list = [],  # type: ignore[type-arg]  # noqa: B006
    validation_fraction: float = 0.1,
    test_fraction: float = 0.15,
    near_duplicate_similarity: float = 0.85,
    max_bad_share: float = 0.2,
    seed: int = 0,
    run_name: str = "",
) -> None:
    """Checks, normalises, redacts, deduplicates and splits customer messages; every row is accounted for.

    Args:
        data: folder with train.parquet, validation.parquet, test.parquet and manifest.json.
        accounting: rows by split, dropped rows by reason, redacted spans.
        summary: the row accounting as tables.
        source_uri: file with the messages (path or fsspec address); for the format banking77 the folder of Banking77.
        source_format: auto (by the file's ending), csv, jsonl, parquet or banking77.
        column_mapping: which columns hold what: {"text": …, "label": …, "group": …, "event_time": …, "features": {…}}.
            Leave out group or event_time, and the platform invents it and marks it as synthetic.
        intents: read only rows with these labels; empty reads all (banking77: its documented subset of twelve).
        per_label_cap: read at most so many rows per label; 0 is no limit (banking77: 110).
        extra_sources: further sources, each {"uri", "format", "mapping", "intents", "per_label_cap", "split"}; a
            retraining replays the champion's rows here.
        labels: closed set of valid labels; rows with another are dropped. Empty takes the labels that occur.
        validation_fraction: share of each source's rows, before the latest test rows, for validation.
        test_fraction: share of each source's latest rows for the test.
        near_duplicate_similarity: rows of one label so similar (Jaccard of 3-grams) are duplicates; 1 switches it off.
        max_bad_share: a larger share of broken rows refuses the source.
        seed: seed of invented columns.
        run_name: name of the pipeline run; the step re-attaches to the job of this name.
    """
    from pathlib import Path

    from components._step import output_uri, publish, run_step, step_key
    from components.prepare.summary import markdown, metrics
    from tidegate.domain.manifest import DataManifest

    key = step_key("prepare", run_name)
    source = {
        "uri": source_uri,
        "format": source_format,
        "mapping": column_mapping,
        "intents": intents,
        "per_label_cap": per_label_cap or None,
    }
    payload = {
        "sources": [source, *extra_sources],
        "out_uri": output_uri(key),
        "contract": {"labels": labels or None, "max_bad_share": max_bad_share},
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "near_duplicate_similarity": near_duplicate_similarity,
        "seed": seed,
    }
    result = run_step("components.prepare.logic:run", payload, "data", key)
    manifest = DataManifest.model_validate(result["manifest"])
    synthetic = ", ".join(manifest.synthetic_columns)
    publish(data, result["uri"], content_digest=manifest.content_digest, synthetic_columns=synthetic)
    for name, value in metrics(manifest).items():
        accounting.log_metric(name, value)
    Path(summary.path).write_text(markdown(manifest), encoding="utf-8")
