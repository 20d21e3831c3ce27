"""Seconds of a step, and the speed that a product of large matrices reaches beside it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from groupvit_mmseg.models.onednn import fast_linears

WARM_UP = 4
"""int: Steps that are not counted: they compile and load kernels."""
Step = Callable[[], object]


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def time_step(step: Step, seconds: float, device: str) -> tuple[float, float]:
    """Return the seconds of the first steps, which compile, and of one later step."""
    start = time.perf_counter()
    for _ in range(WARM_UP):
        step()
    synchronize(device)
    first, start, count = time.perf_counter() - start, time.perf_counter(), 0
    while count < 3 or time.perf_counter() - start < seconds:
        step()
        synchronize(device)
        count += 1
    return first, (time.perf_counter() - start) / count


def product_peak(device: str, dtype: torch.dtype) -> float:
    """Return FLOP a second of a product of large matrices, the fastest there is."""
    size = 8192 if device.startswith('cuda') else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)

    def product() -> Tensor:
        return nn.functional.linear(a, a)

    with torch.inference_mode():
        seconds = [time_step(product, 0.5, device)[1]]
        with fast_linears(a):
            seconds.append(time_step(product, 0.5, device)[1])
    return 2 * size**3 / min(seconds)
