"""A GPU whose memory does not hold the work is told in words that say what to lower."""

from __future__ import annotations

import pytest
import torch

from serving.engines import devices
from serving.engines.ragged import KeyValueCache
from tidegate.errors import InvalidInput

TORCHS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.05 GiB of which 1.12 GiB is "
    "free. Including non-PyTorch memory, this process has 20.92 GiB memory in use. Of the allocated memory 20.10 GiB "
    "is allocated by PyTorch. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF"
)
GIB = 2**30


def test_memory_that_runs_out_names_the_work_the_gpu_and_the_next_step() -> None:
    with pytest.raises(InvalidInput) as caught, devices.within_memory("the training", "Lower batch_size."):
        raise torch.OutOfMemoryError(TORCHS)
    assert caught.value.problem == (
        "the training does not fit into the GPU's memory: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a "
        "total capacity of 22.05 GiB of which 1.12 GiB is free. Including non-PyTorch memory, this process has "
        "20.92 GiB memory in use"
    )
    assert caught.value.next_step == "Lower batch_size."


def test_other_errors_of_the_work_pass() -> None:
    with pytest.raises(RuntimeError, match="else"), devices.within_memory("the training", ""):
        raise RuntimeError("something else")


def test_a_cache_that_outgrows_the_gpu_is_refused_before_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA L4")
    gpu = torch.device("cuda")
    devices.check_room(gpu, 3 * GIB, "keys and values", "")
    devices.check_room(torch.device("cpu"), 99 * GIB, "keys and values", "")
    with pytest.raises(InvalidInput, match=r"keys and values take up to 3\.5 GiB, and NVIDIA L4 has 3\.0 of 24\.0 GiB"):
        devices.check_room(gpu, 7 * GIB // 2, "keys and values", "")


def test_the_bytes_of_a_cache_are_those_that_it_takes() -> None:
    cache = KeyValueCache(3, 2, 8, torch.bfloat16, torch.device("cpu"))
    foreseen = cache.bytes_of(5, 100)
    cache.reserve(5, 100)
    assert foreseen == sum(tensor.nbytes for tensor in (*cache.keys, *cache.values))
