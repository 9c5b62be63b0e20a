"""Probes: a few examples on which a changed computation is compared with the model's whole forward.

Cuts, unpadding and first-token-only use them before they are used in a trial.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from luthier.trials.prefix.axes import TOKENS, Inputs

Outputs = Mapping[str, torch.Tensor]  # the model's outputs that a task needs, by name
Forward = Callable[[Inputs], Outputs]  # a batch's inputs -> the model's outputs

FIRST, LAST, PER_TOKEN = "first", "last", "tokens"  # which tokens of a block's output the logits depend on
CLOSE = 3e-4  # relative difference of float32 logits: between batches it is smaller, and far larger if they are wrong


@dataclass(frozen=True)
class Probe:
    """A batch of a few examples.

    Attributes:
        inputs: The model's inputs.
        lengths: Tokens of each example, without padding.
        further_lengths: The same for each further axis of the inputs.
        select: Picks the logits that count from the model's outputs, as one tensor.
    """

    inputs: Inputs
    lengths: Sequence[int]
    select: Callable[[Outputs], torch.Tensor]
    further_lengths: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def axes(self) -> dict[str, Sequence[int]]:
        """The length of each example on each axis of the inputs beside BATCH."""
        return {TOKENS: self.lengths, **self.further_lengths}

    def logits(self, forward: Forward) -> torch.Tensor:
        """Return the logits that count, of one forward."""
        return self.select(forward(self.inputs))

    @staticmethod
    def is_close(logits: torch.Tensor, expected: torch.Tensor) -> bool:
        """Return whether logits equal the expected ones up to rounding: to CLOSE times the largest expected one."""
        if logits.shape != expected.shape:
            return False
        return bool((logits - expected).abs().max() <= CLOSE * expected.abs().max())


@dataclass(frozen=True)
class Probes:
    """The batches on which a cut is tried.

    Attributes:
        sizes: Of different sizes on every axis on which the split's examples differ, and on no two axes alike.
        parts: Of the same examples as `whole`.
        whole: The batch that logits are compared on.
    """

    sizes: tuple[Probe, ...]
    parts: tuple[Probe, Probe]
    whole: Probe


def random_projection(logits: torch.Tensor) -> torch.Tensor:
    """Return a scalar that depends on every logit: their sum with fixed random weights. Its gradient is then taken."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
    return (logits * weights).sum()


def token_kind(gradient: torch.Tensor, lengths: Sequence[int]) -> str:
    """Return which tokens the logits depend on.

    Args:
        gradient: Of the logits by a block's output, (batch, tokens, ...).
        lengths: Tokens of each example, without padding.

    Returns:
        FIRST or LAST if the logits depend on that token alone in every example, else PER_TOKEN.
    """
    if gradient.ndim < 3:
        return PER_TOKEN
    used = gradient.flatten(2).abs().amax(2) > 0  # (batch, tokens)
    rows = torch.arange(len(lengths), device=used.device)
    if bool((used.sum(1) == 1).all()):
        if bool(used[:, 0].all()):
            return FIRST
        if bool(used[rows, torch.tensor(lengths, device=used.device) - 1].all()):
            return LAST
    return PER_TOKEN
