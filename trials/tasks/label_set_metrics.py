"""Scores of answers with any number of labels: F1, average precision, the threshold that suits best.

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
    count = len(scores)
    order = scores.argsort(dim=0, descending=True, stable=True)  # (rows, labels), as all that follows
    ordered, mine = scores.gather(0, order), true.gather(0, order).double()
    rank = torch.arange(1, count + 1)[:, None]
    last = torch.full_like(order, count)  # the rank of the last row with an equal score, in this row or below
    last[:-1] = torch.where(ordered[1:] != ordered[:-1], rank[:-1], count)
    last = last.flip(0).cummin(0).values.flip(0)
    precision = mine.cumsum(0).gather(0, last - 1) / last
    held = mine.sum(0)
    average = (precision * mine).sum(0)[held > 0] / held[held > 0]
    return float(average.mean()) if len(average) else None


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
