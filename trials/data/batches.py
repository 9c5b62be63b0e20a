"""Batches of an epoch and of an evaluation, with rows of about the same length, and their pieces.

The number of batches of an epoch depends on rows and batch size alone. The training loop and the engine call these
functions with the lengths of a split's rows, and get row numbers. A piece goes through the model at once.
"""

import random
from collections.abc import Callable, Sequence
from itertools import groupby

import torch

from luthier.studies.results import Batching
from luthier.trials.data.encoded import Encoded

POOL_BATCHES = 32  # the most batches of a pool: a pool of rows is sorted by length, and cut into batches
BatchSize = int | Callable[[int], int]
LEAST_POOLS = 4  # pools of an epoch, if there are as many batches: so small splits get new batches in every epoch too


def training_batches(
    lengths: Sequence[int], batch_size: int, seed: int, classes: Sequence[int] | None = None
) -> list[list[int]]:
    """Draw the batches of one epoch: every row once, rows of one batch of about the same length.

    Args:
        lengths: Each row's length.
        batch_size: Rows of a batch; the last of a pool may have fewer.
        seed: Another seed gives other batches.
        classes: Each row's class, to draw as many rows of each class in place of every row; None: every row.

    Returns:
        Row numbers of ceil(rows / batch_size) batches, in random order.
    """
    generator = torch.Generator().manual_seed(seed)
    if classes is None:
        order = torch.randperm(len(lengths), generator=generator).tolist()
    else:
        order = balanced_rows(classes, generator)
    batches: list[list[int]] = []
    pool_rows = max(1, min(POOL_BATCHES, len(order) // (LEAST_POOLS * batch_size))) * batch_size
    for start in range(0, len(order), pool_rows):
        pool = sorted(order[start : start + pool_rows], key=lambda i: lengths[i])
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    random.Random(seed).shuffle(batches)  # noqa: S311 - reproducible, not secret
    return batches


def balanced_rows(classes: Sequence[int], generator: torch.Generator) -> list[int]:
    """Draw as many rows as there are, equally many of each class (give or take one), in random order.

    Of a class, no row is drawn again before all others are.

    Args:
        classes: Each row's class.
        generator: What is drawn with.
    """
    labels = torch.as_tensor(classes)
    occurring = torch.tensor(sorted(set(labels.tolist())))
    quotas = torch.full((len(occurring),), len(classes) // len(occurring))
    quotas[torch.randperm(len(occurring), generator=generator)[: len(classes) % len(occurring)]] += 1
    drawn: list[torch.Tensor] = []
    for label, quota in zip(occurring.tolist(), quotas.tolist(), strict=True):
        rows = (labels == label).nonzero().flatten()
        rounds = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-quota // len(rows)))]
        drawn.append(torch.cat(rounds)[:quota])
    together = torch.cat(drawn)
    order: list[int] = together[torch.randperm(len(together), generator=generator)].tolist()
    return order


def evaluation_batches(lengths: Sequence[int], batch_size: BatchSize) -> list[list[int]]:
    """Return row numbers of batches with every row once, longest first: a batch too large for memory fails first.

    Args:
        lengths: Each row's length.
        batch_size: The most rows of a batch; or a function that returns them for a batch in which a row is the largest.
    """
    return _cut(sorted(range(len(lengths)), key=lambda i: -lengths[i]), batch_size)


def unpadded_batches(lengths: Sequence[int], batch_size: BatchSize) -> list[list[int]]:
    """Return row numbers of batches whose rows have one length, every row once, longest first.

    Args:
        lengths: Each row's length.
        batch_size: As for `evaluation_batches`.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [batch for _, alike in groupby(order, key=lambda i: lengths[i]) for batch in _cut(list(alike), batch_size)]


def _cut(rows: Sequence[int], batch_size: BatchSize) -> list[list[int]]:
    """Return rows cut into batches, none of which has more rows than any of its own allows."""
    if isinstance(batch_size, int):
        return [list(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
    batches: list[list[int]] = []
    room = 0
    for row in rows:
        room = min(room, batch_size(row))
        if not batches or len(batches[-1]) >= room:
            batches.append([])
            room = batch_size(row)
        batches[-1].append(row)
    return batches


def pieces(encoded: Encoded, rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut a batch into the pieces that may go through the model together, in the batch's order.

    Args:
        encoded: The split.
        rows: The batch, as row numbers; rows of the same lengths should stand together.
        size: The most rows of a piece.
    """
    if encoded.batching is Batching.EQUAL:
        lengths = (encoded.lengths, *encoded.further_lengths.values())
        alike = groupby(rows, lambda row: [own[row] for own in lengths])
        runs: list[Sequence[int]] = [list(run) for _, run in alike]
    else:
        runs = [rows]
    if encoded.batching is Batching.SINGLE:
        size = 1
    return [run[start : start + size] for run in runs for start in range(0, len(run), size)]
