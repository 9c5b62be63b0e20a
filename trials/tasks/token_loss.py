"""The loss of learned tokens, and their logits: part by part, since logits are as wide as a vocabulary.

`LearnedTokens` trains with it, and computes its statistics from the same logits.
"""

from collections.abc import Iterator

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.scoring import Tensors
from luthier.trials.transfer import sent

CHUNK = 2**25
"""Logits that are turned into float32 log-likelihoods at once."""


class TokenLoss(Loss):
    """The cross-entropy of learned tokens.

    Args:
        smoothing: Share of the target probability that is spread over the vocabulary (label smoothing).
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def weight(self, targets: Tensors) -> float:
        """Return the number of learned tokens."""
        return len(targets["labels"])

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum of the tokens' losses, ().

        Of a large batch the log-likelihoods are computed part by part, and once more in the backward pass, so that they
        are never held for all tokens.
        """
        logits = learned_logits(outputs, targets)
        labels = targets["labels"].to(logits.device, non_blocking=True)
        if logits.numel() <= CHUNK:
            return self._part(logits, labels)
        size = max(1, CHUNK // logits.shape[1])
        parts = zip(torch.split(logits, size), torch.split(labels, size), strict=True)
        return torch.stack([checkpoint(self._part, *part, use_reentrant=False) for part in parts]).sum()

    def _part(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=self._smoothing, reduction="sum")


def learned_logits(outputs: Tensors, targets: Tensors) -> torch.Tensor:
    """Return the logits of learned tokens, (learned, vocabulary), of a forward that was `narrowed` or was not."""
    logits = outputs["logits"]
    if logits.shape[:2] == (1, len(targets["labels"])):  # of one whole row with as many tokens, all are learned
        return logits[0]
    return logits[sent(targets["rows"], logits.device), sent(targets["positions"], logits.device)]


def chunks(logits: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield float32 logits of some tokens with the tokens."""
    size = max(1, CHUNK // logits.shape[1])
    for part, wanted in zip(torch.split(logits, size), torch.split(labels, size), strict=True):
        yield part.float(), wanted
