"""Scores of numbers: correlations and errors. The input is what a model said and what is true, as float64.

The scores equal those of scipy and scikit-learn (tests compare them); like those of `metrics` they are computed here
because a comparison computes thousands of them, and a worker would have to install those libraries for a few lines.
"""

import math

import torch

CONSTANT = 1e-13
"""Numbers that differ by less than this share of their size differ by rounding alone (scipy's bound)."""


def pearson(said: torch.Tensor, true: torch.Tensor) -> float | None:
    """Compute Pearson's correlation.

    Args:
        said: (rows,) float64.
        true: (rows,) float64.

    Returns:
        The correlation, from -1 to 1; None where one of the two is the same for all rows, or is not finite.
    """
    one, other = _centred(said), _centred(true)
    if one is None or other is None:
        return None
    return max(-1.0, min(1.0, float(one @ other)))


def _centred(numbers: torch.Tensor) -> torch.Tensor | None:
    """Return numbers without their mean, of the length 1; None where that is undefined."""
    mean = numbers.mean()
    centred = numbers - mean
    largest = centred.abs().max()  # squares of very small or large numbers would be 0 or infinite
    if not math.isfinite(float(largest)) or float(largest) <= CONSTANT * abs(float(mean)):
        return None
    scaled = centred / largest
    unit: torch.Tensor = scaled / scaled.norm()
    return unit


def standardised(numbers: torch.Tensor) -> torch.Tensor:
    """Return numbers without their mean, of the length 1; as they are where all are the same."""
    unit = _centred(numbers)
    return numbers if unit is None else unit


def spearman(said: torch.Tensor, true: torch.Tensor) -> float | None:
    """Compute Spearman's correlation, that of the ranks; equal numbers share the middle of theirs.

    Arguments and result are those of `pearson`.
    """
    if not bool(torch.isfinite(said).all()):
        return None
    return pearson(ranks(said), ranks(true))


def ranks(numbers: torch.Tensor) -> torch.Tensor:
    """Return the rank of each number from 1, (rows,) float64; equal numbers share the middle of theirs."""
    _, place, counts = numbers.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    middle: torch.Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return middle[place]


def r2(said: torch.Tensor, true: torch.Tensor) -> float | None:
    """Compute the share of the variance that is explained: 1 is perfect, 0 is the mean's; None where there is none."""
    total = ((true - true.mean()) ** 2).sum()
    value = 1 - ((said - true) ** 2).sum() / total
    return float(value) if float(total) > 0 and bool(torch.isfinite(value)) else None


def mean_error(said: torch.Tensor, true: torch.Tensor, power: int) -> float | None:
    """Compute the mean of the errors' absolute values to a power; None where it is not finite."""
    error = ((said - true).abs() ** power).mean()
    return float(error) if bool(torch.isfinite(error)) else None
