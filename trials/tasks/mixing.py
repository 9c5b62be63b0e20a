"""Mixtures of two training examples, drawn for a whole batch: partners, shares, and what is learned of both.

Images and sounds are mixed by subclasses; the task says what its targets become (`RowTask.mixed_targets`). Draws come
from the module `random`'s own generator, which the trainer seeds.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from luthier.studies.augmentations import MIXTURES
from luthier.studies.findings import Finding, note
from luthier.studies.hyperparameters import Params
from luthier.studies.space import Space
from luthier.trials.data.encoded import Changes, Values

ALPHAS = {"mixup": 0.2, "cutmix": 1.0}
"""The alpha of the papers (for ImageNet), by the kind of mixture."""
OTHER = "other_labels"
"""Name of the target that holds the second example's class or labels, where inputs were mixed; one for each row."""
SHARE = "share"
"""Name of the target that is the weight of the first example then, from 0 to 1; the second has the rest. (rows,)."""

MixedTargets = Callable[[Mapping[str, Values], Sequence[int], torch.Tensor], dict[str, Values]]
"""(targets, each row's partner, each row's share) -> the targets of the mixtures."""


@dataclass(frozen=True, kw_only=True)
class Mixing(Changes):
    """Mixtures of each example of a batch with another one of it.

    Attributes:
        name: mixup or cutmix.
        alpha: Both parameters of the Beta distribution that the first example's share is drawn from; 0: no mixtures.
        mixed_targets: What is learned of the mixtures.
    """

    name: str
    alpha: float
    mixed_targets: MixedTargets

    def tuned(self, params: Params) -> Self:
        """Return them as strong as a configuration says."""
        alpha = float(params["mixup_alpha"])
        return replace(self, alpha=ALPHAS[self.name] if alpha < 0 else alpha)

    def partners(self, count: int) -> list[int]:
        """Draw a partner for each of `count` examples, each the partner of one."""
        return random.sample(range(count), count)

    def share(self) -> float:
        """Draw an example's share of its mixture."""
        return random.betavariate(self.alpha, self.alpha) if self.alpha else 1.0


def mixing_findings(augmentation: str, space: Space) -> list[Finding]:
    """Return the note that some trials of a space can mix nothing, as their batches have one example.

    Args:
        augmentation: The spec's.
        space: Its own; where all trials are so, the spec is refused.
    """
    if augmentation not in MIXTURES or "batch_size" not in space or space.least("batch_size") != 1:
        return []
    text = f"batch_size can be 1, and {augmentation} mixes the examples of a batch: trials with it mix nothing."
    return [note("nothing-to-mix", text, cure="Let space.batch_size begin at 2 or more.")]


def both(name: str, targets: Mapping[str, Values], partners: Sequence[int], shares: torch.Tensor) -> dict[str, Values]:
    """Return both examples' targets with their share, for a loss that is weighted by it.

    Args:
        name: The target that is learned; a tensor with a value for each row.
        targets: The rows'.
        partners: (rows,) rows that they are mixed with.
        shares: (rows,) weights of their own.
    """
    values = torch.as_tensor(targets[name])
    return {**targets, OTHER: values[torch.as_tensor(partners)], SHARE: shares}
