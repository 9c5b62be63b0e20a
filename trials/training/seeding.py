"""Seeds for each purpose, derived from the seed of the trial.

The purposes' strings ("head", "epoch 3", "step 7", ...) are part of what makes results reproducible: they never change.
"""

import hashlib
import random

import torch

from luthier.trials.model import dropout


def derive(seed: int, purpose: str) -> int:
    """Return a seed of 63 bits for one purpose of a trial, independent of the seeds for its other purposes."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8]) >> 1


def seed_everything(seed: int) -> None:
    """Seed every generator that a model may draw from: Python's, numpy's, torch's and the fast dropout's."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # models draw masks from the global one
    torch.manual_seed(seed)
    dropout.seed(seed)
