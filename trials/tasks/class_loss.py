"""The loss of units that get one class each: cross-entropy or focal loss, also of two classes that are mixed."""

from collections.abc import Callable

import torch
from torch.nn import functional

from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.mixing import OTHER, SHARE
from luthier.trials.tasks.scoring import Tensors
from luthier.trials.transfer import sent

LEAST_DOUBT = 1e-7
"""Least 1 - p in the focal factor, whose slope is infinite at 0 for a gamma below 1."""


class ClassLoss(Loss):
    """The cross-entropy of the units' classes, or their focal loss (Lin et al. 2017, equation 5).

    Args:
        logits: (outputs, targets) -> the units' logits, (units, classes).
        weights: (classes,) loss weight of each class, on the model's device; None: all alike.
        smoothing: Share of the target probability that is spread over all classes (label smoothing).
        gamma: Of the focal loss: each class's term is multiplied by (1 - p)^gamma of its probability p. 0: by 1.
    """

    def __init__(
        self,
        logits: Callable[[Tensors, Tensors], torch.Tensor],
        weights: torch.Tensor | None,
        smoothing: float,
        gamma: float,
    ) -> None:
        self._logits = logits
        self._weights = weights
        self._smoothing = smoothing
        self._gamma = gamma

    def weight(self, targets: Tensors) -> float | torch.Tensor:
        """Return the sum of the units' weights; one of two classes has the mean of theirs."""
        labels = targets["labels"]
        if self._weights is None:
            return len(labels)
        own = self._weights[sent(labels, self._weights.device)]
        if OTHER not in targets:
            return own.sum()
        share = sent(targets[SHARE], own.device).to(own)
        return (share * own + (1 - share) * self._weights[sent(targets[OTHER], own.device)]).sum()

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the weighted sum of the units' losses, ()."""
        logits = self._logits(outputs, targets).float()  # (units, classes)
        labels = targets["labels"].to(logits.device, non_blocking=True)
        if OTHER not in targets:
            if not self._gamma:
                return functional.cross_entropy(
                    logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="sum"
                )
            return self._each(logits, labels).sum()
        share = targets[SHARE].to(logits, non_blocking=True)
        other = targets[OTHER].to(logits.device, non_blocking=True)
        return (share * self._each(logits, labels) + (1 - share) * self._each(logits, other)).sum()

    def _each(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the weighted loss of each unit, (units,)."""
        if not self._gamma:
            return functional.cross_entropy(
                logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="none"
            )
        logs = logits.log_softmax(1)
        terms = -(-logs.expm1()).clamp(min=LEAST_DOUBT).pow(self._gamma) * logs  # (units, classes)
        if self._weights is not None:
            terms = terms * self._weights
        true = terms.gather(1, labels[:, None])[:, 0]
        return (1 - self._smoothing) * true + self._smoothing * terms.mean(1)
