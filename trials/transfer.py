"""Copies of tensors on the device that a model is computed on, for which the CPU does not wait.

Everything that moves values to a GPU within a training step calls `sent`: a copy of ordinary memory makes the CPU wait
until the GPU has done all of its work.
"""

import torch


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return values on a device; to a GPU they go through pinned memory, and nothing waits for them to arrive.

    Args:
        values: On any device; those that are on the right one are returned themselves.
        device: Where they are needed.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
