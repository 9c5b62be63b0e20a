"""Scores of a classifier from one pass over a split."""

import torch
from torch.nn import functional

from studies.protocol import Metrics


def classification_scores(logits: torch.Tensor, labels: torch.Tensor) -> Metrics:
    """Accuracy, macro F1, Matthews correlation and mean cross-entropy.

    `logits` is (examples, classes), `labels` (examples,) of class ids, both on the CPU. A loss that is not finite
    is None. Macro F1 is over the classes that occur in the labels or the predictions, as in scikit-learn; Matthews
    is Gorodkin's R_K (2004, eq. 8), 0 where it is undefined.
    """
    logits = logits.double()
    classes, count = logits.shape[1], len(labels)
    confusion = torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
    confusion = confusion.reshape(classes, classes).double()  # (true, predicted)
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurring = true + predicted > 0
    f1 = 2 * right[occurring] / (true + predicted)[occurring]
    covariance = right.sum() * count - (true * predicted).sum()
    spread = ((count**2 - (true**2).sum()) * (count**2 - (predicted**2).sum())).sqrt()
    loss = functional.cross_entropy(logits, labels)
    return {
        "accuracy": float(right.sum() / count),
        "macro_f1": float(f1.mean()),
        "matthews": float(covariance / spread) if spread > 0 else 0.0,
        "loss": float(loss) if torch.isfinite(loss) else None,
    }


def top_accuracy(logits: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Fraction of examples whose label is among the k highest logits; `logits` is (examples, classes)."""
    highest = logits.topk(min(k, logits.shape[1])).indices  # (examples, k)
    return float((highest == labels[:, None]).any(1).double().mean())
