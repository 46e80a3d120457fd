"""The features step. Without postponed annotations: KFP reads the types of the parameters themselves."""

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def features(
    data: dsl.Input[dsl.Dataset],
    featured: dsl.Output[dsl.Dataset],
    figures: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    customer_pool: int = 0,
    run_name: str = "",
) -> None:
    """Joins customer features as they were at each row's moment, and puts the latest into the online store.

    Args:
        data: the folder that prepare wrote.
        featured: the same folder with a column per feature, and prompt.json.
        figures: customers, rows of history.
        summary: the prompt template and where its features come from.
        customer_pool: also invent profiles for the first so many customers of the synthetic population, so that live
            traffic finds features; no effect when the data brings features of its own.
        run_name: name of the pipeline run; the step re-attaches to the job of this name.
    """
    from pathlib import Path

    from components._step import address, output_uri, publish, run_step, step_key
    from components.features.summary import markdown

    key = step_key("features", run_name)
    payload = {"in_uri": address(data), "out_uri": output_uri(key), "customer_pool": customer_pool}
    result = run_step("components.features.logic:run", payload, "data", key)
    views = ", ".join(result["prompt"]["feature_views"])
    publish(featured, result["uri"], content_digest=result["manifest"]["content_digest"], feature_views=views)
    figures.log_metric("customers", float(result["customers"]))
    figures.log_metric("history_rows", float(result["history_rows"]))
    Path(summary.path).write_text(markdown(result), encoding="utf-8")
