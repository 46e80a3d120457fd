"""What carries retrainings out is chosen by the profile."""

from __future__ import annotations

from pathlib import Path

from monitoring.alerts.__main__ import launcher
from pipelines.compile import COMPILED
from pipelines.publish import upload
from tests.kfp_api import KfpStandIn
from tests.unit.store.examples import request
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_launcher import KfpRunLauncher
from tidegate.adapters.kfp_packages import read_package
from tidegate.adapters.run_launcher import LocalRunLauncher
from tidegate.kfp_settings import KfpSettings
from tidegate.plane_settings import RetrainingSettings
from tidegate.settings import Settings


def _cluster(tmp_path: Path, **kfp: str) -> Settings:
    names = ("mlflow_uri", "ray_address", "ray_dashboard_url", "engine_url", "gateway_url", "receiver_url")
    addresses = dict.fromkeys(names, "http://nowhere.invalid")
    more = {"database_url": "sqlite://", "artifacts_uri": "s3://b", "inference_log": {"uri": "s3://l"}, "kfp": kfp}
    return Settings.model_validate({"profile": "cluster", "home": tmp_path, **addresses, **more})


def test_one_machine_runs_them_itself(tmp_path: Path) -> None:
    assert isinstance(launcher(Settings(home=tmp_path)), LocalRunLauncher)


def test_a_cluster_hands_them_to_kubeflow_which_need_not_be_up_yet(tmp_path: Path) -> None:
    assert isinstance(launcher(_cluster(tmp_path, url="http://127.0.0.1:1")), KfpRunLauncher)


def test_a_cluster_s_retrainings_have_the_parameters_of_the_settings(tmp_path: Path) -> None:
    with KfpStandIn() as stand_in:
        upload(KfpApi(KfpSettings(url=stand_in.url)), read_package(COMPILED / "retrain.yaml"), "1")
        settings = _cluster(tmp_path, url=stand_in.url)
        own = RetrainingSettings(parameters='{"d": {"max_steps": 400}}')
        made = launcher(settings.model_copy(update={"retraining": own}))
        assert made is not None
        made.start(request("k").model_copy(update={"deployment": "d"}))
        (run,) = stand_in.runs.values()
        assert run["runtime_config"]["parameters"]["max_steps"] == 400


def test_a_cluster_without_kubeflow_starts_none(tmp_path: Path) -> None:
    assert launcher(_cluster(tmp_path)) is None
