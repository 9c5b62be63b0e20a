"""Compute a batch in pieces that are half as large each time memory does not suffice.

The engine runs each training batch and each evaluation batch through `run_halving`, and the frozen-prefix cache what it
computes. The result is the same up to rounding.
"""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from luthier.trials.memory import give_back_gpu_memory, out_of_memory
from luthier.trials.training.micro_batch import MicroBatch

Result = TypeVar("Result")


def run_halving(
    compute: Callable[[int], Result], rows: int, micro_batch: MicroBatch, *, remember: bool = True
) -> Result:
    """Return `compute(size)`, where `size` is halved after each attempt that ran out of memory.

    Args:
        compute: Computes the whole batch in pieces of `size` examples. It is called again after a failed attempt.
        rows: Examples in the batch, at least 1.
        micro_batch: Where the size starts.
        remember: Lower `micro_batch` to the size after a failed attempt. Training does; evaluation, whose batches are
            larger, does not.

    Raises:
        torch.OutOfMemoryError: A single example does not fit.
    """
    size = micro_batch.within(rows)
    while True:
        try:
            return compute(size)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise torch.OutOfMemoryError(str(error)) from error
        # Outside the except clause: inside, the traceback still holds the failed attempt's tensors.
        size = (size + 1) // 2
        if remember:
            micro_batch.lower(size)
        gc.collect()
        give_back_gpu_memory()
