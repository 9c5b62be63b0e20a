"""What a configuration is expected to gain: a smooth surface through the scores of trials, and how sure it is.

TPE's ratio of densities says how likely a configuration is a good one, and one bad trial hardly changes it. Divided by
seconds it draws the cheapest configuration again and again. So TPE proposes, and this surface judges: a small Gaussian
process (Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, sections 2.2, 4.2 and 5.4), whose mean
and variance give the expected improvement (Jones et al. 1998, section 4.1). `cost_aware.py` asks it. Lengths are chosen
from a few, so that the same trials give the same surface. All of it is numpy: scikit-learn and torch are not installed
where a service runs alone, and importing scipy takes longer than many draws.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Floats = npt.NDArray[np.float64]
LENGTHS = (0.25, 0.6, 1.5, 4.0, 12.0)  # over which scores change, in sides of the cube; over the last: hardly at all
USUAL_LENGTH = 0.6
SPREAD = 1.5  # of the logarithms of lengths around the usual one, before any score is known
NOISES = (0.001, 0.01, 0.1, 0.5)  # variances of scores of the same configuration, over that of all scores
USUAL_NOISE = 0.01
SWEEPS = 3  # over all lengths and the noise, at most
MOST_LENGTHS = 24  # that are looked at in all sweeps; each once at least
FAR_BELOW = 2.0  # a score that is further below the median than so many times the best is above it, counts as that
MOST_TRIALS = 150  # a surface through more takes too long to fit; these are the best third, and the latest
LEAST_GAIN = 1e-12


class Cube:
    """Configurations as points: a coordinate for each hyperparameter, from 0 to 1, or the position of a word."""

    def __init__(self, dimensions: Mapping[str, BaseDistribution]) -> None:
        """Take these hyperparameters, of which each has more than one value."""
        self._scales = {name: _scale(d) for name, d in dimensions.items()}
        self._words = {name: d.choices for name, d in dimensions.items() if isinstance(d, CategoricalDistribution)}
        self._has_words = np.array([scale is None for scale in self._scales.values()])

    def points(self, configurations: Sequence[Mapping[str, Any]]) -> Floats:
        """Return a row for each configuration: (configurations, hyperparameters)."""
        return np.array([[self._coordinate(name, one[name]) for name in self._scales] for one in configurations])

    def squares(self, some: Floats, others: Floats) -> Floats:
        """Return the squared distances between points, by hyperparameter: (some, others, hyperparameters).

        Two words are 1 apart.
        """
        differences = some[:, None, :] - others[None, :, :]
        squares: Floats = np.where(self._has_words, differences != 0, differences**2)
        return squares

    def _coordinate(self, name: str, value: Any) -> float:
        scale = self._scales[name]
        if scale is None:
            return float(self._words[name].index(value))
        low, high, is_log = scale
        return ((math.log(value) if is_log else float(value)) - low) / (high - low)


def _scale(d: BaseDistribution) -> tuple[float, float, bool] | None:
    """Return the ends of a hyperparameter of numbers, and whether they are logarithms; None for words."""
    if isinstance(d, CategoricalDistribution):
        numbers = [choice for choice in d.choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
        if len(numbers) < len(d.choices):
            return None
        low, high, is_log = float(min(numbers)), float(max(numbers)), min(numbers) > 0
    else:
        assert isinstance(d, FloatDistribution | IntDistribution)
        low, high, is_log = float(d.low), float(d.high), d.log
    return (math.log(low), math.log(high), True) if is_log else (low, high, False)


class Surface:
    """A Gaussian process through scores.

    Attributes:
        lengths: over which scores change, for each hyperparameter.
        noise: the variance of scores of the same configuration, in that of all scores.
        targets: (trials,), the scores that it goes through, less their mean and over their deviation.
    """

    def __init__(self, cube: Cube, points: Floats, scores: Floats) -> None:
        """Fit the surface.

        Args:
            cube: whose points they are.
            points: (trials, hyperparameters).
            scores: (trials,), higher is better. The worst are raised first: where training fails is a cliff, which no
                smooth surface follows.
        """
        chosen = _fitted_trials(scores)
        points, scores = points[chosen], scores[chosen]
        middle, best = float(np.median(scores)), float(np.max(scores))
        scores = np.maximum(scores, middle - FAR_BELOW * (best - middle))
        deviation = float(np.std(scores)) or 1.0
        self.targets: Floats = np.asarray((scores - np.mean(scores)) / deviation, dtype=np.float64)
        self._cube, self._points, self._squares = cube, points, cube.squares(points, points)
        self.lengths: Floats = np.full(points.shape[1], USUAL_LENGTH)
        self.noise = USUAL_NOISE
        self._fit()
        self._lower = self._factor(self.lengths, self.noise)
        self._weights = np.linalg.solve(self._lower.T, np.linalg.solve(self._lower, self.targets))
        self._best = float(np.max(self.predicted(points)[0]))

    def _factor(self, lengths: Floats, noise: float) -> Floats:
        """Return the lower Cholesky factor of the scores' covariance."""
        covariance = _matern(self._squares @ (1 / lengths**2)) + noise * np.eye(len(self.targets))
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)

    def _fit(self) -> None:
        """Choose each length and the noise in turn, by their posterior density, until nothing is better."""
        best = self._log_posterior(self.lengths, self.noise)
        for _ in range(min(SWEEPS, max(1, MOST_LENGTHS // len(self.lengths)))):
            before = best
            for lengths, noise in self._neighbours():
                value = self._log_posterior(lengths, noise)
                if value > best:
                    best, self.lengths, self.noise = value, lengths, noise
            if best == before:
                break

    def _neighbours(self) -> Iterator[tuple[Floats, float]]:
        """Yield lengths and noise that differ in one of them from those at that moment."""
        for i in range(len(self.lengths)):
            for length in LENGTHS:
                lengths = self.lengths.copy()
                lengths[i] = length
                yield lengths, self.noise
        for noise in NOISES:
            yield self.lengths, noise

    def _log_posterior(self, lengths: Floats, noise: float) -> float:
        lower = self._factor(lengths, noise)
        whitened = np.linalg.solve(lower, self.targets)
        prior = np.sum((np.log(lengths / USUAL_LENGTH) / SPREAD) ** 2) / 2
        return float(-whitened @ whitened / 2 - np.sum(np.log(np.diag(lower))) - prior)

    def predicted(self, points: Floats) -> tuple[Floats, Floats]:
        """Return what points are expected to score, in the unit of `targets`, and the deviation of that."""
        near = _matern(self._cube.squares(points, self._points) @ (1 / self.lengths**2))
        variances = 1 - np.sum(np.linalg.solve(self._lower, near.T) ** 2, axis=0)
        return near @ self._weights, np.sqrt(np.maximum(variances, LEAST_GAIN))

    def log_gains(self, points: Floats) -> Floats:
        """Return the logarithm of the expected improvement on the best trial, in the unit of `targets`."""
        means, deviations = self.predicted(points)
        above = (means - self._best) / deviations
        density = np.exp(-(above**2) / 2) / math.sqrt(2 * math.pi)
        probability = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in above])
        gains: Floats = np.log(np.maximum(deviations * (above * probability + density), LEAST_GAIN))
        return gains


def _fitted_trials(scores: Floats) -> npt.NDArray[np.intp]:
    """Return the positions of the trials that a surface goes through, in their order."""
    if len(scores) <= MOST_TRIALS:
        return np.arange(len(scores))
    best = np.argsort(-scores, kind="stable")[: MOST_TRIALS // 3]
    others = np.setdiff1d(np.arange(len(scores)), best)
    return np.sort(np.concatenate([best, others[len(best) - MOST_TRIALS :]]))


def _matern(squares: Floats) -> Floats:
    """Return Matern's covariance of smoothness 5/2, for squared distances in units of the lengths."""
    distances = np.sqrt(5 * squares)
    covariances: Floats = (1 + distances + distances**2 / 3) * np.exp(-distances)
    return covariances
