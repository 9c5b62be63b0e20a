"""Intervals hold the true score as often as they say: simulated, and compared with scipy's."""

from collections.abc import Callable
from statistics import NormalDist

import numpy
import pytest
from numpy.typing import NDArray
from scipy import stats

from luthier.studies.intervals import LEVEL, bca, resampling_error, share_error, wilson

Numbers = NDArray[numpy.float64]
Score = Callable[..., Numbers]  # arrays of (..., examples) -> (...)
RESAMPLES = 400
STUDIES = 300  # 3.5 standard deviations of a coverage of 0.95 are 0.044
LEAST, MOST = 0.906, 0.99


@pytest.mark.parametrize(("right", "units"), [(0, 20), (20, 20), (7, 9), (450, 1000), (1, 1)])
def test_wilson_is_scipys_and_its_error_is_never_zero(right: int, units: int) -> None:
    interval = wilson(right / units, units)
    ends = stats.binomtest(right, units).proportion_ci(LEVEL, "wilson")
    assert (interval.low, interval.high) == (pytest.approx(ends.low, abs=1e-12), pytest.approx(ends.high))
    assert interval.method == "wilson"
    share = right / units
    error = share_error(share, units)
    assert error > 0
    if units == 1000:
        assert error == pytest.approx((share * (1 - share) / units) ** 0.5, rel=2e-3)
        assert interval.error == pytest.approx(error, rel=2e-3)


@pytest.mark.parametrize(("units", "share"), [(20, 0.9), (36, 0.5), (100, 0.97), (500, 0.8)])
def test_wilson_covers(units: int, share: float) -> None:
    rights = numpy.random.default_rng(0).binomial(units, share, 4000)
    intervals = [wilson(right / units, units) for right in rights]
    covered = numpy.mean([interval.low <= share <= interval.high for interval in intervals])
    exactly = sum(
        stats.binom.pmf(right, units, share)
        for right in range(units + 1)
        if wilson(right / units, units).low <= share <= wilson(right / units, units).high
    )
    assert covered == pytest.approx(exactly, abs=0.015)
    assert 0.92 <= exactly <= 0.99


def macro_f1(true: Numbers, said: Numbers) -> Numbers:
    scores, occurring = 0.0, 0.0
    for label in range(3):
        total = (true == label).sum(-1) + (said == label).sum(-1)
        scores = scores + 2 * ((true == label) & (said == label)).sum(-1) / numpy.maximum(total, 1)
        occurring = occurring + (total > 0)
    return numpy.asarray(scores / occurring)


def pearson(one: Numbers, other: Numbers) -> Numbers:
    one, other = (values - values.mean(-1, keepdims=True) for values in (one, other))
    return numpy.asarray((one * other).sum(-1) / numpy.sqrt((one**2).sum(-1) * (other**2).sum(-1)))


def mean(losses: Numbers) -> Numbers:
    return numpy.asarray(losses.mean(-1))


def labels(draw: numpy.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    true = draw.choice(3, n, p=[0.6, 0.3, 0.1])
    return true, numpy.where(draw.random(n) < 0.8, true, draw.choice(3, n))


def numbers(draw: numpy.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    true = draw.normal(size=n)
    return true, 0.7 * true + 0.714 * draw.normal(size=n)


def losses(draw: numpy.random.Generator, n: int) -> tuple[Numbers]:
    return (draw.exponential(size=n) ** 1.3,)  # skewed, as cross-entropies are


def resampled(draw: numpy.random.Generator, data: tuple[Numbers, ...], score: Score) -> tuple[Numbers, Numbers]:
    """The score on resamples, and without each example."""
    n = len(data[0])
    rows = draw.integers(n, size=(RESAMPLES, n))
    others = ~numpy.eye(n, dtype=bool)
    left_out = score(*(numpy.broadcast_to(column, (n, n))[others].reshape(n, n - 1) for column in data))
    return score(*(column[rows] for column in data)), left_out


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize(("data", "score"), [(labels, macro_f1), (numbers, pearson), (losses, mean)])
def test_the_bootstrap_covers_and_its_error_is_the_scores_own(
    data: Callable[..., tuple[Numbers, ...]], score: Score, n: int
) -> None:
    draw = numpy.random.default_rng(n)
    truth = float(score(*data(draw, 400_000)))
    covered, errors, scores = [], [], []
    for _ in range(STUDIES):
        sample = data(draw, n)
        own = float(score(*sample))
        on_resamples, left_out = (values.tolist() for values in resampled(draw, sample, score))
        interval = bca(own, on_resamples, left_out, n)
        if interval is None:  # every answer is right
            continue
        covered.append(interval.low <= truth <= interval.high)
        errors.append(resampling_error(on_resamples, n) or 0.0)
        scores.append(own)
    assert len(covered) >= 0.98 * STUDIES
    assert LEAST <= numpy.mean(covered) <= MOST
    assert numpy.mean(errors) == pytest.approx(numpy.std(scores), rel=0.2)


def test_it_is_scipys_apart_from_the_widening_for_few_examples() -> None:
    draw = numpy.random.default_rng(3)
    (sample,) = losses(draw, 400)
    rows = draw.integers(400, size=(5000, 400))
    left_out = (sample.sum() - sample) / 399
    interval = bca(float(sample.mean()), sample[rows].mean(1).tolist(), left_out.tolist(), 400)
    ends = stats.bootstrap((sample,), numpy.mean, n_resamples=5000, method="BCa", rng=draw).confidence_interval
    assert interval is not None
    width = ends.high - ends.low
    assert interval.low == pytest.approx(ends.low, abs=0.06 * width)
    assert interval.high == pytest.approx(ends.high, abs=0.06 * width)
    middle = sample.mean()
    assert interval.high - middle > middle - interval.low, "it reaches further to the side of the skewness"


def test_parts_of_many_examples_stand_for_them() -> None:
    """The skewness from 50 parts of 10 examples each is that from the 500 examples."""
    draw = numpy.random.default_rng(4)
    (sample,) = losses(draw, 500)
    on_resamples = sample[draw.integers(500, size=(4000, 500))].mean(1).tolist()
    each = (sample.sum() - sample) / 499
    parts = [numpy.delete(sample, slice(part, None, 50)).mean() for part in range(50)]
    one, other = (bca(float(sample.mean()), on_resamples, [*map(float, out)], 500) for out in (each, parts))
    assert one is not None
    assert other is not None
    assert other.low == pytest.approx(one.low, abs=0.1 * (one.high - one.low))
    assert other.high == pytest.approx(one.high, abs=0.1 * (one.high - one.low))


def test_what_tells_nothing_is_none() -> None:
    assert bca(1.0, [1.0] * 100, [1.0] * 20, 20) is None
    assert resampling_error([1.0] * 100, 20) is None
    few = [0.1 * i for i in range(100)]
    assert bca(5.0, few, [], 9) is None
    assert resampling_error(few, 9) is None
    assert bca(5.0, few, [], 10) is not None
    assert NormalDist().inv_cdf(0.975) == pytest.approx(1.96, abs=1e-3)
