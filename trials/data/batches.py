"""Which examples go into which batch: seeded, alike in length, and always the same number of batches."""

import random
from collections.abc import Sequence

import torch

POOL_BATCHES = 32  # batches are cut from pools of at most so many, sorted by length
LEAST_POOLS = 4  # of an epoch, so that also a small split's batches are others in every epoch


def training_batches(lengths: Sequence[int], batch_size: int, seed: int) -> list[list[int]]:
    """An epoch: every row once, ceil(rows / batch_size) batches in random order, rows of one batch alike in length."""
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    batches: list[list[int]] = []
    pool_rows = max(1, min(POOL_BATCHES, len(order) // (LEAST_POOLS * batch_size))) * batch_size
    for start in range(0, len(order), pool_rows):
        pool = sorted(order[start : start + pool_rows], key=lambda i: lengths[i])
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    random.Random(seed).shuffle(batches)  # noqa: S311 - reproducible, not secret
    return batches


def evaluation_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Every row once, longest first, so that what does not fit in memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
