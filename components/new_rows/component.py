"""The new-rows step. Without postponed annotations: KFP reads the types of the parameters themselves."""

from typing import NamedTuple

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def new_rows(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    rows: dsl.Output[dsl.Dataset],
    figures: dsl.Output[dsl.Metrics],
    deployment: str,
    model_name: str = "",
    min_rows: int = 60,
    replay_rows_per_label: int = 25,
    replay_test_rows_per_label: int = 6,
    customer_pool: int = -1,
    run_name: str = "",
) -> NamedTuple(  # type: ignore[valid-type]
    "Start",
    [
        ("data", str),
        ("replay", list),
        ("model", str),
        ("base_model", str),
        ("champion", str),
        ("parent_version", str),
        ("rank", int),
        ("customers", int),
    ],
):
    """Finds the version that serves, exports the labelled requests since its training, and says where to start from.

    Args:
        rows: the new rows as JSON lines.
        figures: how many there are.
        deployment: name of the ModelDeployment whose traffic is learned from.
        model_name: registered model; empty takes the one that serves.
        min_rows: fewer new labelled rows are no retraining: the step fails and says how many there are.
        replay_rows_per_label: of the champion's train rows, so that it does not unlearn them; 0 replays none.
        replay_test_rows_per_label: of the champion's test rows; 0 replays none.
        customer_pool: profiles to invent for the synthetic population; -1 takes what the champion's run had.
        run_name: name of the pipeline run; the step re-attaches to the job of this name.

    Returns:
        Address of the rows, replayed sources, model, base model, champion (name/version), its version and rank, and
        how many customers get profiles.
    """
    from components._step import output_uri, publish, run_step, step_key

    key = step_key("new-rows", run_name)
    payload = {
        "deployment": deployment,
        "model": model_name or None,
        "out_uri": output_uri(key),
        "min_rows": min_rows,
        "replay_rows_per_label": replay_rows_per_label,
        "replay_test_rows_per_label": replay_test_rows_per_label,
    }
    found = run_step("components.new_rows.logic:run", payload, "data", key)
    champion = f"{found['model']}/{found['version']}"
    publish(rows, found["uri"], rows=found["rows"], since=found["since"], champion=champion)
    figures.log_metric("rows", float(found["rows"]))
    pool = found["customer_pool"] if customer_pool < 0 else customer_pool
    return (
        found["uri"],
        found["replay"],
        found["model"],
        found["base"],
        champion,
        found["version"],
        found["rank"],
        pool,
    )
