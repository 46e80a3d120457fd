"""The pipeline `fine_tune`, and `retrain`: the same steps, started by an alert.

A gate that says no fails its step, it does not branch: `kfp.local` skips a false branch without a word.
"""

from typing import Any

from kfp import dsl

from components.evaluate.component import evaluate
from components.features.component import features
from components.fine_tune.component import fine_tune as train
from components.new_rows.component import new_rows
from components.prepare.component import prepare
from components.register.component import register
from pipelines.placement import placed

_NEW_ROWS = {"text": "text", "label": "label", "group": "group", "event_time": "event_time"}
"""Columns of the rows that the new-rows step exports."""
_VALIDATION_FRACTION, _SIMILARITY = 0.1, 0.85
"""Of a retraining's rows: as a first training has by default."""
BASE_MODEL = "builtin:smollm2-135m-instruct"


def _steps(**given: Any) -> None:
    """The five steps, wired. `given` are a pipeline's parameters."""
    prepared = prepare(
        source_uri=given["data"],
        source_format=given["data_format"],
        column_mapping=given["column_mapping"],
        intents=given["intents"],
        per_label_cap=given["per_label_cap"],
        extra_sources=given["extra_sources"],
        labels=given["labels"],
        validation_fraction=given["validation_fraction"],
        test_fraction=given["test_fraction"],
        near_duplicate_similarity=given["near_duplicate_similarity"],
        max_bad_share=given["max_bad_share"],
        seed=given["seed"],
        run_name=given["run_name"],
    )
    featured = features(data=prepared.outputs["data"], customer_pool=given["customer_pool"], run_name=given["run_name"])
    trained = train(
        featured=featured.outputs["featured"],
        **{
            name: given[name]
            for name in (
                "base_model",
                "start_from",
                "max_steps",
                "batch_size",
                "learning_rate",
                "rank",
                "alpha",
                "seed",
                "max_tokens",
                "workers",
                "price_per_hour",
                "gate",
                "override_by",
                "override_reason",
                "node_pool",
                "run_name",
            )
        },
    )
    evaluated = evaluate(
        featured=featured.outputs["featured"],
        adapter=trained.outputs["adapter"],
        base_model=given["base_model"],
        champion=given["champion"],
        gate=given["gate"],
        max_rows=given["eval_max_rows"],
        max_answer_tokens=given["max_answer_tokens"],
        seed=given["seed"],
        override_by=given["override_by"],
        override_reason=given["override_reason"],
        node_pool=given["node_pool"],
        run_name=given["run_name"],
    )
    registered = register(
        featured=featured.outputs["featured"],
        adapter=trained.outputs["adapter"],
        evaluation=evaluated.outputs["evaluation"],
        model_name=given["model_name"],
        base_model=given["base_model"],
        alias=given["alias"],
        trigger=given["trigger"],
        parent_version=given["parent_version"],
        node_pool=given["node_pool"],
        run_name=given["run_name"],
    )
    names = ("prepare", "features", "fine-tune", "evaluate", "register")
    for name, task in zip(names, (prepared, featured, trained, evaluated, registered), strict=True):
        placed(name, task)


@dsl.pipeline(name="fine-tune")  # type: ignore[untyped-decorator]
def fine_tune(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    data: str,
    model_name: str = "banking-intent",
    data_format: str = "auto",
    column_mapping: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP wants a plain default
    intents: list = [],  # type: ignore[type-arg]  # noqa: B006
    per_label_cap: int = 0,
    extra_sources: list = [],  # type: ignore[type-arg]  # noqa: B006
    labels: list = [],  # type: ignore[type-arg]  # noqa: B006
    validation_fraction: float = 0.1,
    test_fraction: float = 0.15,
    near_duplicate_similarity: float = 0.85,
    max_bad_share: float = 0.2,
    customer_pool: int = 0,
    base_model: str = BASE_MODEL,
    start_from: str = "",
    max_steps: int = 30,
    batch_size: int = 16,
    learning_rate: float = 0.001,
    rank: int = 16,
    alpha: int = 32,
    max_tokens: int = 192,
    workers: int = 1,
    price_per_hour: float = 0.0,
    node_pool: str = "",
    champion: str = "",
    gate: dict = {},  # type: ignore[type-arg]  # noqa: B006
    eval_max_rows: int = 160,
    max_answer_tokens: int = 0,
    override_by: str = "",
    override_reason: str = "",
    alias: str = "challenger",
    parent_version: str = "",
    seed: int = 0,
    run_name: str = "",
) -> None:
    """From customer messages to a nominated model version: prepare, features, fine-tune, evaluate (gate), register.

    Args:
        data: file with the messages (path or fsspec address); for the format banking77 the folder of Banking77.
        model_name: registered model, for example banking-intent.
        data_format: auto (by the file's ending), csv, jsonl, parquet or banking77.
        column_mapping: which columns hold what: {"text": …, "label": …, "group": …, "event_time": …, "features": {…}}.
        intents: read only rows with these labels; empty reads all (banking77: its documented subset of twelve).
        per_label_cap: read at most so many rows per label; 0 is no limit (banking77: 110).
        extra_sources: further sources, each {"uri", "format", "mapping", "intents", "per_label_cap", "split"}.
        labels: closed set of valid labels; empty takes the labels that occur.
        validation_fraction: share of the rows before those that the validation split takes; no step reads it, you may.
        test_fraction: share of the latest rows that the test split takes.
        near_duplicate_similarity: rows of one label so similar (Jaccard of 3-grams) are duplicates; 1 keeps them all.
        max_bad_share: with a larger share of broken rows the data is refused.
        customer_pool: also invent profiles for the first so many customers of the synthetic population.
        base_model: address of the base model: builtin (in no image), a folder, file://, s3:// or a hub id.
        start_from: adapter to continue from: a folder, name/version or name@alias; empty starts afresh.
        max_steps: optimiser steps.
        batch_size: rows per step.
        learning_rate: the peak, after a linear warm-up; it falls along a cosine.
        rank: of the adapter.
        alpha: the adapter is scaled by alpha / rank.
        max_tokens: longest training row, prompt and answer together; a longer one is refused, not cut.
        workers: that share each batch; on a cluster each has a pod, or a GPU where the site reserves GPUs.
        price_per_hour: of one training worker, in the currency of your choice; 0 takes the node pool's.
        node_pool: nodes of a cluster that training runs on, a pool of the platform's; empty takes the site's.
        champion: version to compare with, name/version or name@alias; empty, or an alias not set yet, means none.
        gate: {"checks": [{"check": "min_value", "metric": "exact_match", "limit": 0.6}, …]}; empty takes the default.
        eval_max_rows: test rows above this are sampled, stratified by label.
        max_answer_tokens: longest answer, evaluated and served; 0 is as long as the longest label.
        override_by: who lets the adapter pass a failed gate; recorded in report, ledger and model card.
        override_reason: why; needed with override_by.
        alias: alias that nominates the version for a rollout; empty sets none.
        parent_version: version whose adapter the training continues, for the lineage.
        seed: of invented columns, initial weights, order of rows and sampling.
        run_name: name of the run; steps find the jobs of this name again, and the version is registered once for it.
    """
    _steps(**locals(), trigger="")


@dsl.pipeline(name="retrain")  # type: ignore[untyped-decorator]
def retrain(  # noqa: PLR0913, PLR0917 - see fine_tune
    deployment: str,
    model_name: str = "",
    trigger: str = "",
    min_new_rows: int = 60,
    replay_rows_per_label: int = 25,
    replay_test_rows_per_label: int = 6,
    labels: list = [],  # type: ignore[type-arg]  # noqa: B006
    test_fraction: float = 0.3,
    max_bad_share: float = 0.2,
    customer_pool: int = -1,
    max_steps: int = 36,
    batch_size: int = 16,
    learning_rate: float = 0.002,
    alpha: int = 32,
    max_tokens: int = 192,
    workers: int = 1,
    price_per_hour: float = 0.0,
    node_pool: str = "",
    gate: dict = {},  # type: ignore[type-arg]  # noqa: B006
    eval_max_rows: int = 100,
    max_answer_tokens: int = 0,
    alias: str = "challenger",
    seed: int = 0,
    run_name: str = "",
) -> None:
    """A retraining on the new rows alone, from the champion's adapter: started by an alert or by the clock, uncached.

    Args:
        deployment: name of the ModelDeployment: its champion is trained on, with the labelled rows of its traffic.
        model_name: registered model; empty takes the one that serves.
        trigger: key of the retraining request, recorded with the version; empty for one by the clock.
        min_new_rows: fewer new labelled rows are no retraining: the first step fails and says how many there are.
        replay_rows_per_label: of the champion's train rows, so that it does not unlearn them; 0 replays none.
        replay_test_rows_per_label: of the champion's test rows; 0 replays none.
        labels: closed set of valid labels; empty takes the labels that occur.
        test_fraction: share of the latest new rows that the test split takes: they are few, and the gate must see them.
        max_bad_share: with a larger share of broken rows the data is refused.
        customer_pool: profiles to invent for the synthetic population; -1 takes what the champion's run had.
        max_steps: optimiser steps.
        batch_size: rows per step.
        learning_rate: the peak, after a linear warm-up; it falls along a cosine.
        alpha: the adapter is scaled by alpha / rank; the rank is the champion's.
        max_tokens: longest training row, prompt and answer together; a longer one is refused, not cut.
        workers: that share each batch; on a cluster each has a pod, or a GPU where the site reserves GPUs.
        price_per_hour: of one training worker, in the currency of your choice; 0 takes the node pool's.
        node_pool: nodes of a cluster that training runs on, a pool of the platform's; empty takes the site's.
        gate: checks of the quality gate; empty takes the default.
        eval_max_rows: test rows above this are sampled, stratified by label.
        max_answer_tokens: longest answer, evaluated and served; 0 is as long as the longest label.
        alias: alias that nominates the version for a rollout.
        seed: of invented columns, order of rows and sampling.
        run_name: name of the run: the request's key; empty takes the run's own id, so that every run is a new one.
    """
    start = new_rows(
        deployment=deployment,
        model_name=model_name,
        min_rows=min_new_rows,
        replay_rows_per_label=replay_rows_per_label,
        replay_test_rows_per_label=replay_test_rows_per_label,
        customer_pool=customer_pool,
        run_name=run_name,
    )
    placed("new-rows", start)
    _steps(
        data=start.outputs["data"],
        data_format="jsonl",
        column_mapping=_NEW_ROWS,
        intents=[],
        per_label_cap=0,
        extra_sources=start.outputs["replay"],
        labels=labels,
        validation_fraction=_VALIDATION_FRACTION,
        test_fraction=test_fraction,
        near_duplicate_similarity=_SIMILARITY,
        max_bad_share=max_bad_share,
        customer_pool=start.outputs["customers"],
        base_model=start.outputs["base_model"],
        start_from=start.outputs["champion"],
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rank=start.outputs["rank"],
        alpha=alpha,
        max_tokens=max_tokens,
        workers=workers,
        price_per_hour=price_per_hour,
        node_pool=node_pool,
        champion=start.outputs["champion"],
        gate=gate,
        eval_max_rows=eval_max_rows,
        max_answer_tokens=max_answer_tokens,
        override_by="",
        override_reason="",
        model_name=start.outputs["model"],
        alias=alias,
        trigger=trigger,
        parent_version=start.outputs["parent_version"],
        seed=seed,
        run_name=run_name,
    )
