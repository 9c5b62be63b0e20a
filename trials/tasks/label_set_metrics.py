"""Scores of answers with any number of labels: F1, average precision, and the threshold that suits them best.

The scores equal scikit-learn's (tests compare them); as in `metrics` they are computed here because a comparison
computes thousands of them, and a worker would have to install that library for a few lines.
"""

import torch


def micro_f1(said: torch.Tensor, true: torch.Tensor) -> float:
    """Compute F1 over all pairs of a row and a label; 0 where no label is said or true.

    Args:
        said: (rows, labels) booleans, the labels that were given.
        true: (rows, labels) booleans.
    """
    total = int(said.sum()) + int(true.sum())
    return 2 * int((said & true).sum()) / total if total else 0.0


def macro_f1(said: torch.Tensor, true: torch.Tensor) -> float:
    """Compute the mean of the labels' F1 scores, 0 for one that is neither said nor true; arguments of `micro_f1`."""
    right, total = (said & true).sum(0).double(), (said.sum(0) + true.sum(0)).double()
    return float((2 * right / total.clamp(min=1)).mean())


def mean_average_precision(scores: torch.Tensor, true: torch.Tensor) -> float | None:
    """Compute the mean over labels of the average precision: of the rows ranked by the label's score.

    The average precision is the sum over the ranks of precision times the gain in recall, rows with equal scores
    together. A label that no row has is left out, because it has none.

    Args:
        scores: (rows, labels).
        true: (rows, labels) booleans.

    Returns:
        The mean; None where no row has a label, or a score is not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        return None
    found = [_average_precision(score, mine) for score, mine in zip(scores.T, true.T, strict=True) if bool(mine.any())]
    return sum(found) / len(found) if found else None


def _average_precision(scores: torch.Tensor, true: torch.Tensor) -> float:
    """Return the average precision of one label, (rows,) each."""
    order = scores.argsort(descending=True, stable=True)
    ordered, mine = scores[order], true[order].double()
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])  # of rows with equal scores
    right = mine.cumsum(0)[last]
    precision = right / torch.arange(1, len(mine) + 1)[last]
    gain = right.diff(prepend=torch.zeros(1, dtype=torch.double)) / right[-1]
    return float((precision * gain).sum())


def best_cut(scores: torch.Tensor, true: torch.Tensor) -> float | None:
    """Return the number above which scores are said to be labels for the highest micro F1, or None without any label.

    It lies in the middle between two scores, so that rounding decides nothing; of several equal ones it is the highest.

    Args:
        scores: (rows, labels), finite.
        true: (rows, labels) booleans.
    """
    ordered, order = scores.double().flatten().sort(descending=True, stable=True)
    right = true.flatten()[order].double().cumsum(0)
    if not float(right[-1]):
        return None
    f1 = 2 * right / (torch.arange(1, len(ordered) + 1) + right[-1])  # of the first 1, 2, ... pairs
    f1[:-1][ordered[1:] == ordered[:-1]] = -1.0  # no cut lies between equal scores
    best = int(f1.argmax())
    below = ordered[best + 1] if best + 1 < len(ordered) else ordered[best] - 1
    return float((ordered[best] + below) / 2)
