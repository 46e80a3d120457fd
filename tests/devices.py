"""The devices that a test of arithmetic runs on: the CPU everywhere, a GPU where the machine has one."""

from __future__ import annotations

import pytest
import torch

needs_gpu = pytest.mark.skipif(torch.cuda.device_count() == 0, reason="this machine has no GPU")
DEVICES = ("cpu", pytest.param("cuda", marks=needs_gpu))
