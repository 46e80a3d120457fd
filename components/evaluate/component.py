"""The evaluate step."""

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    featured: dsl.Input[dsl.Dataset],
    adapter: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    base_model: str,
    champion: str = "",
    gate: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP wants a plain default
    max_rows: int = 160,
    max_answer_tokens: int = 0,
    seed: int = 0,
    override_by: str = "",
    override_reason: str = "",
    node_pool: str = "",
    run_name: str = "",
) -> None:
    """Measures the adapter on the test split, compares it with base and champion, and fails when the gate says no.

    Args:
        featured: the folder that features wrote.
        adapter: the folder that fine-tune wrote.
        evaluation: folder with the signed report and every row's answers.
        metrics: exact match, macro-F1, invalid answers and latency, with interval ends.
        confusion: labels against answers.
        report: the whole report as a page.
        base_model: address of the base model that the adapter was trained on.
        champion: version to compare with, name/version or name@alias; empty, or an alias not set yet, means none.
        gate: {"checks": [{"check": "min_value", "metric": "exact_match", "limit": 0.6}, …]}; empty takes the default.
        max_rows: test rows above this are sampled, stratified by label.
        max_answer_tokens: longest answer in tokens, in the evaluation and when the version serves; 0 is as long as the
            longest label.
        seed: of sampling and bootstrap.
        override_by: who lets the adapter pass a failed gate; recorded in report, ledger and model card.
        override_reason: why; needed with override_by.
        node_pool: nodes of a cluster that the work runs on, a pool of the platform's; empty takes the site's.
        run_name: name of the pipeline run; the step re-attaches to the job of this name.
    """
    from pathlib import Path

    from components._step import address, output_uri, publish, reasons_told, run_step, step_key
    from components.evaluate.spec import judgement

    key = step_key("evaluate", run_name)
    with reasons_told():
        judged = judgement(gate, override_by, override_reason)
    payload = {
        "data_uri": address(featured),
        "adapter_uri": address(adapter),
        "base": base_model,
        "generation": {"max_tokens": max_answer_tokens} if max_answer_tokens else None,
        "champion": champion or None,
        **judged,
        "max_rows": max_rows,
        "seed": seed,
        "out_uri": output_uri(key),
    }
    result = run_step("components.evaluate.logic:run", payload, "train", key, node_pool)
    publish(evaluation, result["uri"], gate="passed" if result["report"]["gate"]["passed"] else "overridden")
    for metric in result["report"]["metrics"]:
        metrics.log_metric(metric["name"], metric["value"])
        if metric["interval"]:
            metrics.log_metric(f"{metric['name']}_low", metric["interval"]["low"])
            metrics.log_metric(f"{metric['name']}_high", metric["interval"]["high"])
    confusion.log_confusion_matrix(result["confusion"]["classes"], result["confusion"]["matrix"])
    Path(report.path).write_text(result["html"], encoding="utf-8")
