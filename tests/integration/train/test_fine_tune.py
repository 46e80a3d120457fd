"""Training of the real model: it learns, repeats, continues, survives MLflow's absence and refuses bad input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.fine_tune.adapter import load_model, start_from
from components.fine_tune.distribute import find_hardware, run_training
from components.fine_tune.logic import run
from components.fine_tune.loop import LoopSpec
from components.fine_tune.rows import load_rows
from components.fine_tune.spec import FineTuneResult
from components.fine_tune.steps import answer_logits, collate
from serving.engines.adapter_files import adapter_digest
from tests.integration.train.conftest import BASE, write_data
from tests.mlflow_process import Server
from tidegate.adapters import mlflow_live
from tidegate.adapters.base_model import ResolvedBase
from tidegate.adapters.mlflow_rest import MlflowRest
from tidegate.adapters.storage import copy_tree
from tidegate.domain.training import Hyperparameters, LoraSpec
from tidegate.errors import InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.settings import load_settings

pytestmark = pytest.mark.integration
LORA = {"rank": 8, "alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]}
STEPS = 6


@dataclass(frozen=True)
class Trained:
    folder: Path
    result: FineTuneResult
    losses: list[float]
    messages: list[str]


def training(**changes: Any) -> dict[str, Any]:
    return {"lora": LORA, "max_steps": STEPS, "batch_size": 6, "learning_rate": 3e-3, **changes}


def fine_tune(data: Path, out: Path, mlflow: Server, **changes: Any) -> Trained:
    losses: list[float] = []
    messages: list[str] = []

    def progress(message: str, numbers: Mapping[str, float]) -> None:
        messages.append(message)
        if "loss" in numbers:
            losses.append(numbers["loss"])

    payload = {
        "data_uri": str(data),
        "out_uri": str(out),
        "base": BASE,
        "training": training(**changes),
        "mlflow_uri": mlflow.uri,
        "run_name": out.name,
    }
    result = FineTuneResult.model_validate(run(payload, progress))
    return Trained(out, result, losses, messages)


@pytest.fixture(scope="module")
def trained(data: Path, mlflow: Server, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fine_tune(data, tmp_path_factory.mktemp("first"), mlflow, price_per_hour=3600.0)


def test_the_loss_falls_and_every_step_is_told(trained: Trained) -> None:
    assert len(trained.losses) == STEPS
    assert trained.losses[-1] < 0.6 * trained.losses[0]
    assert trained.result.result.first_loss == trained.losses[0]
    assert trained.result.result.final_loss == trained.losses[-1]


def test_the_result_says_what_it_took(trained: Trained) -> None:
    result = trained.result.result
    assert result.cost == pytest.approx(result.seconds, rel=0.2)  # at 3600 an hour
    assert result.train_tokens > STEPS * 6 * 20
    assert result.adapter_digest == adapter_digest(trained.folder / "adapter")
    assert "machine" not in (trained.folder / "adapter" / "adapter_config.json").read_text()
    assert f'"base_model_name_or_path": "{BASE}"' in (trained.folder / "adapter" / "adapter_config.json").read_text()


def test_the_first_line_and_the_result_say_what_it_ran_on(trained: Trained) -> None:
    result = trained.result.result
    assert trained.messages[0] == "training with 1 worker on CPUs"
    assert result.device == "cpu"
    assert result.hyperparameters is not None
    assert (result.hyperparameters.max_steps, result.hyperparameters.lora.rank) == (STEPS, 8)


def test_mlflow_holds_the_curve_and_the_parameters(trained: Trained, mlflow: Server) -> None:
    rest = MlflowRest(mlflow.uri)
    record = rest.get("/runs/get", run_id=trained.result.mlflow_run_id)["run"]
    curve = rest.get("/metrics/get-history", run_id=trained.result.mlflow_run_id, metric_key="loss")["metrics"]
    assert [point["step"] for point in curve] == list(range(1, STEPS + 1))
    assert [point["value"] for point in curve] == trained.losses
    assert {"tokens_per_second", "memory_bytes", "cost"} <= {metric["key"] for metric in record["data"]["metrics"]}
    assert {param["key"]: param["value"] for param in record["data"]["params"]}["lora_rank"] == "8"
    assert record["info"]["status"] == "FINISHED"


def test_the_same_seed_trains_alike_and_another_seed_does_not(
    trained: Trained, data: Path, mlflow: Server, tmp_path: Path
) -> None:
    again = fine_tune(data, tmp_path / "again", mlflow, max_steps=STEPS)
    other = fine_tune(data, tmp_path / "other", mlflow, max_steps=2, seed=1)
    assert again.losses == pytest.approx(trained.losses, rel=0.05)
    assert other.losses[0] != again.losses[0]


def test_training_continues_from_an_adapter(trained: Trained, data: Path, mlflow: Server, tmp_path: Path) -> None:
    more = fine_tune(data, tmp_path / "more", mlflow, start_from=str(trained.folder), max_steps=2)
    assert more.losses[0] < 0.6 * trained.losses[0]
    assert more.result.result.adapter_digest != trained.result.result.adapter_digest


def test_a_worker_fetches_for_itself_what_it_needs(
    trained: Trained, data: Path, base: ResolvedBase, tmp_path: Path
) -> None:
    start = "memory://worker/adapter"
    copy_tree(str(trained.folder / "adapter"), start)
    spec = LoopSpec(
        training=Hyperparameters.model_validate(training(max_steps=1)),
        device="cpu",
        base=base.ref.model_copy(update={"uri": str(base.folder)}),
        start_uri=start,
        data_uri=str(data),
        adapter_uri=str(tmp_path / "out"),
        cache=str(tmp_path / "cache"),
    )
    result = run_training(spec, find_hardware(1, 0), lambda *_: None)
    assert result.first_loss < 0.6 * trained.losses[0]
    assert [*(tmp_path / "cache").rglob("adapter_model.safetensors")], "in the worker's own cache"


@pytest.mark.parametrize(
    ("lora", "named"),
    [({"rank": 4}, "rank 8"), ({"alpha": 32}, "alpha 16"), ({"target_modules": ["q_proj", "k_proj"]}, "down_proj")],
)
def test_an_adapter_of_another_shape_is_not_continued(
    trained: Trained, data: Path, mlflow: Server, tmp_path: Path, lora: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        fine_tune(data, tmp_path / "out", mlflow, start_from=str(trained.folder), lora=LORA | lora)


def test_peft_reads_the_adapter_and_computes_the_same_logits(trained: Trained, data: Path, base: ResolvedBase) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    batch = collate(load_rows(str(data), tokenizer, 192, load_settings().cache)[:4], tokenizer.pad_token_id)
    lora = LoraSpec(rank=8, alpha=16, target_modules=("q_proj", "v_proj", "down_proj"))
    ours = load_model(base.folder, lora, dtype=torch.float32, seed=5)
    fresh = answer_logits(ours, batch).detach()
    start_from(ours, trained.folder / "adapter", lora)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, trained.folder / "adapter", autocast_adapter_dtype=False)
    for logits in (answer_logits(ours, batch), theirs(batch.ids).logits.reshape(-1, 49152)[batch.positions]):
        assert (logits - fresh).abs().max() > 1
    assert torch.allclose(
        answer_logits(ours, batch), theirs(batch.ids).logits.reshape(-1, 49152)[batch.positions], atol=2e-3
    )


def test_gradients_are_those_of_peft(data: Path, base: ResolvedBase, trained: Trained) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    batch = collate(load_rows(str(data), tokenizer, 192, load_settings().cache)[:2], tokenizer.pad_token_id)
    lora = LoraSpec(rank=8, alpha=16, target_modules=("q_proj", "v_proj", "down_proj"))
    ours = load_model(base.folder, lora, dtype=torch.float32, seed=5)
    start_from(ours, trained.folder / "adapter", lora)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(
        plain, trained.folder / "adapter", is_trainable=True, autocast_adapter_dtype=False
    )
    gradients = []
    for logits, model in (
        (answer_logits(ours, batch), ours),
        (theirs(batch.ids).logits.reshape(-1, 49152)[batch.positions], theirs),
    ):
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-2, atol=1e-5), name


def test_mlflow_away_loses_no_training_and_the_same_step_records_it_later(
    data: Path, mlflow: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_live, "PATIENCE_SECONDS", 0.5)
    mlflow.stop()
    try:
        with pytest.raises(Unavailable, match="training is done") as caught:
            fine_tune(data, tmp_path / "out", mlflow, max_steps=2)
    finally:
        mlflow.start()
    assert "again" in caught.value.next_step
    digest = adapter_digest(tmp_path / "out" / "adapter")
    monkeypatch.setattr(mlflow_live, "PATIENCE_SECONDS", 30.0)
    recorded = fine_tune(data, tmp_path / "out", mlflow, max_steps=2)
    assert recorded.result.resumed
    assert recorded.losses == []
    assert recorded.result.result.adapter_digest == digest
    points = MlflowRest(mlflow.uri).get(
        "/metrics/get-history", run_id=recorded.result.mlflow_run_id, metric_key="loss"
    )["metrics"]
    assert len(points) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_reserved_and_not_there_is_no_training_on_cpus(
    data: Path, mlflow: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_TRAINING__GPUS", "1")
    with pytest.raises(InvalidInput, match=r"1 GPU\(s\) are reserved for this training, and torch sees 0"):
        fine_tune(data, tmp_path / "out", mlflow)
    assert not (tmp_path / "out" / "adapter").exists()


def test_a_longer_row_is_trained_on_when_the_limit_is_raised(mlflow: Server, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", text="word " * 200)
    raised = fine_tune(data, tmp_path / "out", mlflow, max_tokens=400, max_steps=1, batch_size=2)
    assert raised.result.result.train_tokens > 2 * 200


def _long(data: Path) -> Path:
    return write_data(data, text="word " * 300)


def _unlabelled(data: Path) -> Path:
    return write_data(data, label=None)


def _empty(data: Path) -> Path:
    write_data(data)
    (data / "train.parquet").write_bytes(b"")
    return data


@pytest.mark.parametrize(
    ("make", "changes", "named"),
    [
        (_long, {}, "row-card_arrival-0"),
        (_unlabelled, {}, "row-card_arrival-0"),
        (_empty, {}, "Parquet"),
        (write_data, {"lora": LORA | {"target_modules": ["qkv"]}}, "qkv"),
        (write_data, {"learning_rate": 1e30}, "learning rate"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_and_nothing_is_saved(
    make: Callable[[Path], Path], changes: dict[str, Any], named: str, mlflow: Server, tmp_path: Path
) -> None:
    with pytest.raises(TidegateError, match=named) as caught:
        fine_tune(make(tmp_path / "data"), tmp_path / "out", mlflow, **changes)
    assert caught.value.next_step
    assert not (tmp_path / "out" / "adapter").exists()


def test_an_adapter_that_is_not_there_is_not_found(data: Path, mlflow: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        fine_tune(data, tmp_path / "out", mlflow, start_from=str(tmp_path / "absent"))
