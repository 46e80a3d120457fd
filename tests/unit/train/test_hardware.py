"""What a training runs on: decided from what is reserved for it, and never quietly on CPUs beside a reserved GPU."""

from __future__ import annotations

import pytest
import torch

from components.fine_tune.distribute import find_hardware
from components.fine_tune.hardware import check_worker, plan
from serving.engines.devices import device_name, generation_device
from tidegate.errors import InvalidInput


def test_without_gpus_one_worker_trains_in_the_job_s_process_on_the_cpu() -> None:
    hardware = plan(workers=1, reserved=0, visible=0, in_ray=None)
    assert (hardware.device, hardware.backend, hardware.use_gpu) == ("cpu", "gloo", False)
    assert (hardware.num_workers, hardware.resources_per_worker) == (0, None)
    assert hardware.told == "1 worker on CPUs"


def test_more_workers_on_cpus_are_spread_over_the_pods_that_are_there_for_them() -> None:
    hardware = plan(workers=3, reserved=0, visible=0, in_ray=None)
    assert (hardware.device, hardware.backend, hardware.num_workers) == ("cpu", "gloo", 3)
    assert hardware.placement == "SPREAD"


def test_one_worker_with_a_gpu_trains_in_the_job_s_process_on_it() -> None:
    hardware = plan(workers=1, reserved=1, visible=1, in_ray=None)
    assert (hardware.device, hardware.in_process, hardware.use_gpu) == ("cuda", True, True)
    assert hardware.told == "1 worker on a GPU"


def test_every_worker_of_a_group_holds_one_gpu_and_they_talk_by_nccl() -> None:
    hardware = plan(workers=4, reserved=4, visible=1, in_ray=4)
    assert (hardware.num_workers, hardware.backend) == (4, "nccl")
    assert (hardware.use_gpu, hardware.resources_per_worker) == (True, {"GPU": 1})


def test_a_group_may_train_elsewhere_than_where_it_is_started_from() -> None:
    assert plan(workers=2, reserved=2, visible=0, in_ray=8).device == "cuda"


def test_a_gpu_that_nobody_reserved_is_left_alone_and_mentioned() -> None:
    for workers in (1, 2):
        hardware = plan(workers=workers, reserved=0, visible=2, in_ray=None)
        assert hardware.device == "cpu"
        assert "2 GPU(s) are visible, none is reserved" in hardware.told


def test_gpus_that_idle_are_mentioned() -> None:
    assert "3 more are reserved and idle" in plan(workers=1, reserved=4, visible=4, in_ray=None).told


@pytest.mark.parametrize(
    ("workers", "reserved", "visible", "in_ray", "said", "next_step"),
    [
        (1, 1, 0, None, r"1 GPU\(s\) are reserved for this training, and torch sees 0", "driver"),
        (3, 2, 2, 2, r"workers = 3, and 2 GPU\(s\) are reserved", "2 worker"),
        (2, 2, 1, 1, r"workers = 2, and the job's Ray counts 1 GPU\(s\)", "at most 1"),
        (2, 2, 0, 0, r"workers = 2, and the job's Ray counts 0 GPU\(s\) \(torch sees 0", "training.gpus to 0"),
    ],
)
def test_gpus_that_are_reserved_and_cannot_be_used_end_the_run_with_both_counts(
    workers: int, reserved: int, visible: int, in_ray: int | None, said: str, next_step: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        plan(workers=workers, reserved=reserved, visible=visible, in_ray=in_ray)
    assert next_step in caught.value.next_step


def test_a_worker_whose_image_or_driver_shows_no_gpu_says_so() -> None:
    check_worker("cpu", given=0, visible=0)
    check_worker("cuda", given=1, visible=1)
    with pytest.raises(InvalidInput, match=r"1 GPU\(s\) are reserved for this training worker, and torch sees 0"):
        check_worker("cuda", given=1, visible=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_on_a_machine_without_gpus_a_reserved_one_is_an_error_and_none_is_the_cpu() -> None:
    assert find_hardware(1, 0).device == "cpu"
    assert device_name(generation_device(0, "this evaluation")) == "cpu"
    with pytest.raises(InvalidInput, match="torch sees 0"):
        find_hardware(1, 1)
    with pytest.raises(InvalidInput, match=r"1 GPU\(s\) are reserved for this evaluation, and torch sees 0"):
        generation_device(1, "this evaluation")
