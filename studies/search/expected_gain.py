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
LENGTHS = (0.25, 0.6, 1.5, 4.0, 12.0)  # over which scores change, in sides of the cube; the last: hardly at all
USUAL_LENGTH = 0.6
SPREAD = 1.5  # of the logarithms of lengths around the usual one, before any score is known
NOISES = (0.001, 0.01, 0.1, 0.5)  # variances of scores of the same configuration, over that of all scores
USUAL_NOISE = 0.01
SWEEPS = 3  # over all lengths and the noise, at most
FAR_BELOW = 2.0  # a score that is further below the median than so many times the best is above it, counts as that
MOST_TRIALS = 150  # a surface through more takes too long to fit; these are the best third, and the latest
LEAST_GAIN = 1e-12


def points_of(configurations: Sequence[Mapping[str, Any]], dimensions: Mapping[str, BaseDistribution]) -> Floats:
    """Return configurations as points, a row each, in a cube from 0 to 1; words have a side of it each."""
    return np.array([_point(one, dimensions) for one in configurations], dtype=np.float64)


def _point(params: Mapping[str, Any], dimensions: Mapping[str, BaseDistribution]) -> list[float]:
    point: list[float] = []
    for name, d in dimensions.items():
        if isinstance(d, CategoricalDistribution):
            numbers = [
                choice for choice in d.choices if isinstance(choice, int | float) and not isinstance(choice, bool)
            ]
            if len(numbers) < len(d.choices):
                point += [0.5 * (choice == params[name]) for choice in d.choices]  # two words are 1 apart
                continue
            low, high, is_log = min(numbers), max(numbers), min(numbers) > 0
        else:
            assert isinstance(d, FloatDistribution | IntDistribution)
            low, high, is_log = d.low, d.high, d.log
        scale = math.log if is_log else float
        point.append((scale(params[name]) - scale(low)) / (scale(high) - scale(low)))
    return point


class Surface:
    """A Gaussian process through scores, with a length of its own for each coordinate."""

    def __init__(self, points: Floats, scores: Floats) -> None:
        """Fit the surface.

        Args:
            points: (trials, coordinates), from 0 to 1.
            scores: (trials,), higher is better. The worst are raised first: where training fails is a cliff, which no
                smooth surface follows.
        """
        chosen = _fitted_trials(scores)
        points, scores = points[chosen], scores[chosen]
        middle, best = float(np.median(scores)), float(np.max(scores))
        scores = np.maximum(scores, middle - FAR_BELOW * (best - middle))
        deviation = float(np.std(scores)) or 1.0
        self._points: Floats = points
        self._targets: Floats = np.asarray((scores - np.mean(scores)) / deviation, dtype=np.float64)
        self._squares = (points[:, None, :] - points[None, :, :]) ** 2  # (trials, trials, coordinates)
        self._lengths = np.full(points.shape[1], USUAL_LENGTH)
        self._noise = USUAL_NOISE
        self._fit()
        self._lower = self._factor(self._lengths, self._noise)
        self._weights = np.linalg.solve(self._lower.T, np.linalg.solve(self._lower, self._targets))
        means = _matern(self._squares @ (1 / self._lengths**2)) @ self._weights
        self._best = float(np.max(means))

    def _factor(self, lengths: Floats, noise: float) -> Floats:
        """Return the lower Cholesky factor of the scores' covariance."""
        covariance = _matern(self._squares @ (1 / lengths**2)) + noise * np.eye(len(self._targets))
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)

    def _fit(self) -> None:
        """Choose each length and the noise in turn, by their posterior density, until nothing is better."""
        best = self._log_posterior(self._lengths, self._noise)
        for _ in range(SWEEPS):
            before = best
            for lengths, noise in self._neighbours():
                value = self._log_posterior(lengths, noise)
                if value > best:
                    best, self._lengths, self._noise = value, lengths, noise
            if best == before:
                break

    def _neighbours(self) -> Iterator[tuple[Floats, float]]:
        """Yield lengths and noise that differ in one of them from those at that moment."""
        for i in range(len(self._lengths)):
            for length in LENGTHS:
                lengths = self._lengths.copy()
                lengths[i] = length
                yield lengths, self._noise
        for noise in NOISES:
            yield self._lengths, noise

    def _log_posterior(self, lengths: Floats, noise: float) -> float:
        lower = self._factor(lengths, noise)
        whitened = np.linalg.solve(lower, self._targets)
        prior = np.sum((np.log(lengths / USUAL_LENGTH) / SPREAD) ** 2) / 2
        return float(-whitened @ whitened / 2 - np.sum(np.log(np.diag(lower))) - prior)

    def log_gains(self, points: Floats) -> Floats:
        """Return the logarithm of the expected improvement on the best trial, in standard deviations of the scores."""
        squares = (points[:, None, :] - self._points[None, :, :]) ** 2
        near = _matern(squares @ (1 / self._lengths**2))
        means = near @ self._weights
        variances = 1 - np.sum(np.linalg.solve(self._lower, near.T) ** 2, axis=0)
        deviations = np.sqrt(np.maximum(variances, LEAST_GAIN))
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
