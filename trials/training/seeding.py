"""Seeds: one for each purpose, derived from the seed of the trial."""

import hashlib
import random

import torch

from luthier.trials.model import dropout


def derive(seed: int, purpose: str) -> int:
    """A seed of 63 bits for one purpose of a trial, independent of those for others."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8]) >> 1


def seed_everything(seed: int) -> None:
    """Seed every generator a model may draw from."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # models draw masks from the global one
    torch.manual_seed(seed)
    dropout.seed(seed)
