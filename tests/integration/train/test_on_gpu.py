"""Training and evaluation on a real GPU: they compute what they do on CPUs, and the outcome says where it came from.

What is skipped without a GPU has a counterpart that needs none: tests/unit/train/test_on_gpu.py and
tests/integration/compute/test_logical_gpus.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
import torch
from transformers import AutoTokenizer

from components.evaluate.inference import ask, for_labels, generation_device, prompts
from components.fine_tune.adapter import load_model, start_from
from components.fine_tune.distribute import find_hardware, run_training
from components.fine_tune.hardware import Hardware
from components.fine_tune.loop import LoopSpec
from components.fine_tune.rows import load_rows
from components.fine_tune.steps import answer_logits, collate
from serving.engines.adapter_files import adapter_digest
from serving.engines.generator import AdapterGenerator
from tests.devices import needs_gpu
from tests.integration.engines.platform import ray_head
from tests.integration.train.conftest import BASE, TEMPLATE, write_data
from tests.integration.train.test_fine_tune import LORA, Trained, fine_tune, training
from tests.mlflow_process import Server
from tidegate.adapters.base_model import ResolvedBase
from tidegate.adapters.ray_compute import RayCompute
from tidegate.adapters.ray_connection import disconnect
from tidegate.domain.training import Hyperparameters, LoraSpec, TrainingResult
from tidegate.errors import InvalidInput
from tidegate.ports import JobSpec
from tidegate.settings import load_settings

pytestmark = [pytest.mark.integration, needs_gpu]
GPUS = "TIDEGATE_TRAINING__GPUS"
GIB = 2**30


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPUS, "1")


@pytest.fixture(scope="module")
def on_gpu(data: Path, mlflow: Server, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GPUS, "1")
        return fine_tune(data, tmp_path_factory.mktemp("gpu"), mlflow, precision="float32")


def loop_spec(data: Path, base: ResolvedBase, out: Path, **changes: Any) -> LoopSpec:
    return LoopSpec(
        training=Hyperparameters.model_validate(training(**changes)),
        device="cuda",
        base=base.ref.model_copy(update={"uri": str(base.folder)}),
        start_uri=None,
        data_uri=str(data),
        adapter_uri=str(out),
        cache=str(load_settings().cache),
    )


def test_the_losses_are_those_of_a_cpu(on_gpu: Trained, data: Path, mlflow: Server, tmp_path: Path) -> None:
    on_cpu = fine_tune(data, tmp_path / "cpu", mlflow, precision="float32")
    assert on_gpu.losses == pytest.approx(on_cpu.losses, rel=0.02)
    assert on_gpu.losses[-1] < 0.6 * on_gpu.losses[0]


def test_the_outcome_says_which_gpu_it_was_and_what_it_took_of_it(on_gpu: Trained) -> None:
    result = on_gpu.result.result
    assert on_gpu.messages[0] == "training with 1 worker on a GPU"
    assert result.device == torch.cuda.get_device_name(0)
    assert 0.5 * GIB < result.peak_memory_bytes < 16 * GIB
    assert f"float32 on {result.device}" in on_gpu.messages[1]


@pytest.mark.usefixtures("one_gpu")
def test_auto_is_bfloat16_and_learns(data: Path, mlflow: Server, tmp_path: Path) -> None:
    auto = fine_tune(data, tmp_path / "auto", mlflow)
    assert auto.result.result.precision == "bfloat16"
    assert auto.losses[-1] < 0.6 * auto.losses[0]


@pytest.mark.usefixtures("one_gpu")
def test_the_same_seed_trains_alike(on_gpu: Trained, data: Path, mlflow: Server, tmp_path: Path) -> None:
    again = fine_tune(data, tmp_path / "again", mlflow, precision="float32")
    assert again.losses == pytest.approx(on_gpu.losses, rel=1e-3)


def test_gradients_are_those_of_a_cpu(on_gpu: Trained, data: Path, base: ResolvedBase) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    batch = collate(load_rows(str(data), tokenizer, 192, load_settings().cache)[:4], tokenizer.pad_token_id)
    lora = LoraSpec.model_validate(LORA)
    gradients = []
    for device in ("cpu", "cuda"):
        model = load_model(base.folder, lora, dtype=torch.float32, seed=5, device=torch.device(device))
        start_from(model, on_gpu.folder / "adapter", lora)
        there = batch.to(torch.device(device))
        torch.nn.functional.cross_entropy(answer_logits(model, there), there.targets).backward()
        gradients.append({name: weight.grad.cpu() for name, weight in model.named_parameters() if weight.requires_grad})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-2, atol=1e-5), name


@pytest.mark.usefixtures("one_gpu")
def test_training_continues_on_a_gpu_from_what_one_left(
    on_gpu: Trained, data: Path, mlflow: Server, tmp_path: Path
) -> None:
    more = fine_tune(data, tmp_path / "more", mlflow, start_from=str(on_gpu.folder), max_steps=2)
    assert more.losses[0] < 0.6 * on_gpu.losses[0]


def test_answers_of_an_evaluation_are_those_of_a_cpu(on_gpu: Trained, data: Path, base: ResolvedBase) -> None:
    """In float32, so that equal means equal: rows of one batch that decode and end at different steps."""
    rows = pd.read_parquet(data / "train.parquet")
    answers = []
    for gpus in (0, 1):
        device, _ = generation_device(gpus)
        generator = AdapterGenerator(base.folder, dtype="float32", device=device)
        generator.load("tuned", on_gpu.folder / "adapter")
        asked = ask(
            generator,
            "tuned",
            prompts(rows, TEMPLATE),
            for_labels(TEMPLATE.labels, generator),
            batch_size=16,
            report=lambda _: None,
        )
        answers.append(asked.answers)
    assert answers[0] == answers[1]
    assert len(set(answers[1])) > 1, "rows must be told apart, or nothing is proven"


def test_a_worker_group_of_ray_trains_on_the_gpu_that_it_was_given(
    on_gpu: Trained, data: Path, base: ResolvedBase, tmp_path: Path
) -> None:
    """One worker needs no group; several need several GPUs. This is the group's way, with NCCL, on the one there is."""
    group = Hardware(device="cuda", workers=1, in_process=False, told="a group of one")
    try:
        result = run_training(loop_spec(data, base, tmp_path / "out", precision="float32"), group, lambda *_: None)
    finally:
        ray.shutdown()  # the next test connects to a Ray of its own
    assert result.device == torch.cuda.get_device_name(0)
    assert result.final_loss == pytest.approx(on_gpu.losses[-1], rel=0.02)
    assert result.adapter_digest == adapter_digest(tmp_path / "out")


def test_more_workers_than_gpus_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"workers = 2, and 1 GPU\(s\) are reserved"):
        find_hardware(2, 1)


def test_a_job_of_the_local_ray_trains_on_its_gpu(
    on_gpu: Trained, data: Path, mlflow: Server, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    payload = {
        "data_uri": str(data),
        "out_uri": str(tmp_path / "out"),
        "base": BASE,
        "training": training(precision="float32"),
        "mlflow_uri": mlflow.uri,
        "run_name": "job",
    }
    with ray_head(tmp_path_factory.mktemp("home"), gpus=1) as settings:
        compute = RayCompute(settings)
        compute.submit(JobSpec(key="gpu/1", entrypoint="components.fine_tune.logic:run", payload=payload, pool="train"))
        result = TrainingResult.model_validate(compute.result("gpu/1")["result"])
        disconnect()
    assert result.device == torch.cuda.get_device_name(0)
    assert result.final_loss == pytest.approx(on_gpu.losses[-1], rel=0.02)


def test_a_batch_that_no_gpu_holds_says_what_to_lower(base: ResolvedBase, tmp_path: Path) -> None:
    rows = write_data(tmp_path / "data", text="word " * 180)
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - GIB, dtype=torch.uint8, device="cuda")  # as if somebody else were there, too
    with pytest.raises(InvalidInput, match="the training does not fit into the GPU's memory") as caught:
        run_training(
            loop_spec(rows, base, tmp_path / "out", batch_size=36, max_steps=2, max_tokens=400),
            find_hardware(1, 1),
            lambda *_: None,
        )
    del taken
    assert "batch_size" in caught.value.next_step
