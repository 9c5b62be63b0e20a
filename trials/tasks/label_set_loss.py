"""The loss of rows with any number of labels: binary cross-entropy or focal loss, also of two rows that are mixed."""

import torch
from torch.nn import functional

from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.class_loss import LEAST_DOUBT
from luthier.trials.tasks.mixing import OTHER, SHARE
from luthier.trials.tasks.scoring import Tensors

LABELS = "labels"
"""Name of the target that holds the class ids of each row's labels, (rows, most labels of a row) padded with -1."""


class LabelSetLoss(Loss):
    """The binary cross-entropy, or its focal loss (Lin et al. 2017, equation 5); the mean over rows and labels.

    A target may be anything from 0 to 1: smoothed, or the share of a row in a mixture. Both losses are linear in it, so
    that of a mixture is the weighted mean of its rows'.

    Args:
        labels: The number of labels.
        weights: (labels,) weight of a label where it is true, on the model's device; None: as where it is not.
        smoothing: Share by which targets are moved from 0 and 1 towards 0.5, twice.
        gamma: Of the focal loss: the terms of a label that is true and one that is not are multiplied by (1 - p)^gamma
            and p^gamma of its probability p. 0: by 1.
    """

    def __init__(self, labels: int, weights: torch.Tensor | None, smoothing: float, gamma: float) -> None:
        self._labels = labels
        self._weights = weights
        self._smoothing = smoothing
        self._gamma = gamma

    def weight(self, targets: Tensors) -> float:
        """Return the number of pairs of a row and a label."""
        return len(targets[LABELS]) * self._labels

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum of the losses of the pairs, ()."""
        logits = outputs["logits"].float()
        wanted = indicators(targets[LABELS].to(logits.device, non_blocking=True), self._labels).float()
        if OTHER in targets:
            other = indicators(targets[OTHER].to(logits.device, non_blocking=True), self._labels).float()
            wanted = torch.lerp(other, wanted, targets[SHARE].to(logits, non_blocking=True)[:, None])
        if self._smoothing:
            wanted = wanted * (1 - self._smoothing) + self._smoothing / 2
        if not self._gamma:
            return functional.binary_cross_entropy_with_logits(
                logits, wanted, pos_weight=self._weights, reduction="sum"
            )
        true = -_focus(-logits, self._gamma) * functional.logsigmoid(logits)  # (rows, labels)
        false = -_focus(logits, self._gamma) * functional.logsigmoid(-logits)
        if self._weights is not None:
            true = true * self._weights
        return (wanted * true + (1 - wanted) * false).sum()


def indicators(ids: torch.Tensor, labels: int) -> torch.Tensor:
    """Return class ids, (rows, ids) padded with -1, as (rows, labels) booleans."""
    marked = torch.zeros(len(ids), labels + 1, dtype=torch.bool, device=ids.device)  # the padding marks the last column
    marked.scatter_(1, torch.where(ids < 0, labels, ids), value=True)
    return marked[:, :labels]


def _focus(logits: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the probabilities of these logits to the power of gamma."""
    return logits.sigmoid().clamp(min=LEAST_DOUBT).pow(gamma)
