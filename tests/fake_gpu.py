"""A GPU that is not there: tensors with a shape and the device 'cuda:0' and no values (torch's FakeTensorMode).

Every operation checks that its operands lie on one device, as a real GPU would, so a batch or an index that stayed on
the CPU is an error. What it cannot show: values, kernels, memory, speed, and the backward pass, which asks the driver.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

GPU = torch.device("cuda", 0)


def moved(model: Any, mode: FakeTensorMode) -> Any:
    """The model with all its weights and buffers on the GPU that is not there."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fake = FakeTensor(mode, weight.detach().to("meta"), GPU)
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = FakeTensor(mode, buffer.to("meta"), GPU)
    return model
