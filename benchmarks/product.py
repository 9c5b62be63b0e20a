"""The rate of a large matrix product: what a device can do at most, beside which steps are measured."""

import math
import time

import torch

SIDE, PRODUCTS = {"cuda": 8192, "cpu": 1024}, 5
"""Of the square matrices, by the kind of device, and how often they are multiplied."""


def clock(device: torch.device) -> float:
    """Return the time in seconds, once a GPU is done; on a CPU that of this process, so that others do not count."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of a large matrix product, at its best."""
    side = SIDE[device.type]
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = math.inf
    for _ in range(PRODUCTS):
        began = clock(device)
        torch.mm(one, other)
        best = min(best, clock(device) - began)
    return 2 * side**3 / best
