"""The fine-tune step."""

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def fine_tune(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    featured: dsl.Input[dsl.Dataset],
    adapter: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    base_model: str,
    start_from: str = "",
    max_steps: int = 30,
    batch_size: int = 16,
    learning_rate: float = 0.001,
    rank: int = 16,
    alpha: int = 32,
    seed: int = 0,
    max_tokens: int = 192,
    workers: int = 1,
    price_per_hour: float = 0.0,
    gate: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP wants a plain default
    override_by: str = "",
    override_reason: str = "",
    node_pool: str = "",
    run_name: str = "",
) -> None:
    """Trains a LoRA adapter on the train split, and records loss, tokens per second, memory and cost while it runs.

    Args:
        featured: the folder that features wrote.
        adapter: folder with adapter/ (safetensors), training_result.json and history.json.
        metrics: first and final loss, tokens per second, seconds, memory, cost.
        summary: the training as a page.
        base_model: address of the base model; 'builtin:smollm2-135m-instruct' comes with the platform.
        start_from: adapter to continue from: a folder, name/version or name@alias; empty starts afresh.
        max_steps: optimiser steps.
        batch_size: rows per step.
        learning_rate: the peak, after a linear warm-up; it falls along a cosine.
        rank: of the adapter.
        alpha: the adapter is scaled by alpha / rank.
        seed: of the initial weights and the order of rows.
        max_tokens: longest training row, prompt and answer together; a longer one is refused, not cut.
        workers: that share each batch; on a cluster each has a pod, or a GPU where the site reserves GPUs.
        price_per_hour: of one worker, in the currency of your choice; 0 takes the node pool's or the machine's.
        gate: of the evaluation that follows: nothing is trained for one that cannot be read.
        override_by: as the evaluation gets it, and refused here as there.
        override_reason: why; needed with override_by.
        node_pool: nodes of a cluster that the work runs on, a pool of the platform's; empty takes the site's.
        run_name: name of the pipeline run; the step re-attaches to the job of this name.
    """
    from pathlib import Path

    from components._step import address, output_uri, publish, reasons_told, run_step, step_key
    from components.evaluate.spec import judgement

    key = step_key("fine-tune", run_name)
    with reasons_told():
        judgement(gate, override_by, override_reason)
    payload = {
        "data_uri": address(featured),
        "out_uri": output_uri(key),
        "base": base_model,
        "training": {
            "start_from": start_from or None,
            "max_steps": max_steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "lora": {"rank": rank, "alpha": alpha},
            "seed": seed,
            "max_tokens": max_tokens,
            "workers": workers,
            "price_per_hour": price_per_hour,
        },
        "run_name": key,
    }
    outcome = run_step("components.fine_tune.logic:run", payload, "train", key, node_pool)
    result = outcome["result"]
    for name in ("first_loss", "final_loss", "tokens_per_second", "seconds", "peak_memory_bytes", "cost"):
        metrics.log_metric(name, result[name])
    digest, base = result["adapter_digest"], outcome["base"]["digest"]
    publish(adapter, outcome["uri"], digest=digest, rank=outcome["rank"], base=base)
    Path(summary.path).write_text(outcome["markdown"], encoding="utf-8")
