"""The register step."""

from kfp import dsl

from components._image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def register(  # noqa: PLR0913, PLR0917 - the parameters are the form that the Kubeflow UI shows
    featured: dsl.Input[dsl.Dataset],
    adapter: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    version: dsl.Output[dsl.Model],
    card: dsl.Output[dsl.Markdown],
    model_name: str,
    base_model: str,
    alias: str = "challenger",
    trigger: str = "",
    parent_version: str = "",
    node_pool: str = "",
    run_name: str = "",
) -> None:
    """Makes one MLflow model version of the evaluated adapter and nominates it; once per pipeline run.

    Args:
        featured: the folder that features wrote.
        adapter: the folder that fine-tune wrote.
        evaluation: the folder that evaluate wrote.
        version: the registered model; its metadata name version and digests.
        card: the model card.
        model_name: registered model, for example banking-intent.
        base_model: address of the base model that the adapter was trained on.
        alias: alias that nominates the version for a rollout; empty sets none.
        trigger: key of the retraining request, when an alert caused the run.
        parent_version: version whose adapter the training continued.
        node_pool: nodes of a cluster that the work runs on, a pool of the platform's; empty takes the site's.
        run_name: name of the pipeline run: the key under which the version is found again, when there is no trigger.
    """
    from pathlib import Path

    from components._step import address, publish, run_step, step_key

    key = step_key("register", run_name)
    payload = {
        "name": model_name,
        "key": f"{trigger}/register" if trigger else key,  # a retraining that is tried again makes no second version
        "data_uri": address(featured),
        "evaluation_uri": address(evaluation),
        "adapter_uri": address(adapter),
        "base": base_model,
        "pipeline_run": key.rsplit("/", 1)[0],
        "trigger": trigger or None,
        "parent_version": parent_version or None,
        "alias": alias or None,
    }
    # Reference logits are float32 of the CPU, which every reader can compute again.
    result = run_step("components.register.logic:run", payload, "train", key, node_pool, takes_gpus=False)
    publish(
        version,
        result["model_uri"],
        name=result["version"]["name"],
        version=result["version"]["version"],
        adapter_digest=result["version"]["adapter"]["digest"],
        data_digest=result["version"]["lineage"]["data_digest"],
    )
    Path(card.path).write_text(result["card"], encoding="utf-8")
