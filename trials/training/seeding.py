"""Seeds for each purpose, derived from the seed of the trial.

The purposes' strings ("head", "epoch 3", "step 7", ...) are part of what makes results reproducible: they never change.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def generator_states() -> tuple[Any, ...]:
    """Return the states of Python's generator, numpy's and the fast dropout's; torch keeps its own."""
    import numpy

    return random.getstate(), numpy.random.get_state(), dropout.state()


def _set_generator_states(states: tuple[Any, ...]) -> None:
    import numpy

    of_python, of_numpy, of_dropout = states
    random.setstate(of_python)
    numpy.random.set_state(of_numpy)
    dropout.set_state(of_dropout)


@contextmanager
def with_generator_states(states: tuple[Any, ...]) -> Iterator[None]:
    """Within this context draws are those that came after `generator_states` returned `states`; afterwards the next."""
    now = generator_states()
    _set_generator_states(states)
    try:
        yield
    finally:
        _set_generator_states(now)
