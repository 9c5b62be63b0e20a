"""The noise of a study's result: how exact its scores are, and whether its gain over the baseline may be chance.

The service calls `judged` on what a worker measured, stores the `Noise`, and shows it with the sentence of `remark`.
"""

import math
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from luthier.studies.averages import Average
from luthier.studies.intervals import LEVEL, Interval
from luthier.studies.paired_tests import mcnemar, randomization
from luthier.studies.results import BaselineScores, Pair, Sampling
from luthier.studies.spec import StudySpec
from luthier.studies.wire import Count, Message, Metrics

CHANCE = (1 - LEVEL) / 2
"""The probability of such a gain without an advantage, above which it is called chance."""
CONFIRM = "`confirm: {candidates: 3, seeds: 3}`"


class Gain(Message):
    """The winner's advantage over the baseline: the difference of their objectives, more is better."""

    value: FiniteFloat
    split: Literal["validation", "test"]  # on which both were scored
    examples: Count
    interval: Interval | None  # of `value`
    p_value: FiniteFloat  # probability of such a gain or a larger one if the winner were no better
    test: Literal["mcnemar", "randomization", "independent"]
    is_noise: bool  # it may be chance


class Noise(Message):
    """How exact the scores of an ended study are; what is not known is None."""

    standard_error: Annotated[FiniteFloat, Field(ge=0)] | None = None  # of the winner's objective on validation
    interval: Interval | None = None  # of its objective on test
    baseline: BaselineScores | None = None
    gain: Gain | None = None
    average: Average | None = Field(None, exclude_if=lambda average: average is None)  # of its weights


def judged(
    spec: StudySpec, sampling: Sampling, test: Metrics | None, before: Noise | None = None, examples: int = 0
) -> Noise:
    """Return the noise of a study that was measured.

    A study that is measured again has lost the baseline's weights: the baseline's scores stay those of the first time,
    and the gain is judged from the two intervals instead of the same examples.

    Args:
        spec: The study's.
        sampling: What a worker found.
        test: The winner's scores on the test split; None without one.
        before: Of an earlier measurement; None: this is the first.
        examples: Of the test split.
    """
    baseline = sampling.baseline or (before.baseline if before else None)
    gain = None
    if sampling.pair is not None:
        gain = _paired(spec, sampling.pair)
    elif baseline is not None:
        gain = _independent(spec, sampling.interval, test, baseline, examples)
    return Noise(standard_error=sampling.standard_error, interval=sampling.interval, baseline=baseline, gain=gain)


def _paired(spec: StudySpec, pair: Pair) -> Gain | None:
    """Return the gain on the same examples, tested as promotions are; None where a score is undefined."""
    if pair.winner is None or pair.baseline is None or not pair.examples:
        return None
    value = (pair.winner - pair.baseline) * (1 if spec.maximize else -1)
    confidence = 1 - CHANCE
    method: Literal["clopper-pearson", "percentile"] = "clopper-pearson"
    if pair.independent and spec.task_info.is_binary(spec.objective.metric):
        test = mcnemar(pair.gained, pair.lost, pair.labelled_units, confidence)
    elif pair.exchanged and pair.resampled:
        test = randomization(value, pair.exchanged, pair.resampled, confidence)
        method = "percentile"
    else:
        return None
    low, high = test.interval
    return Gain(
        value=value,
        split=pair.split,
        examples=pair.examples,
        interval=Interval(low=low, high=high, level=LEVEL, method=method),
        p_value=test.p_value,
        test=test.name,
        is_noise=test.p_value > CHANCE,
    )


def _independent(
    spec: StudySpec, interval: Interval | None, test: Metrics | None, baseline: BaselineScores, examples: int
) -> Gain | None:
    """Return the gain by two intervals, as if they were of different examples; None where a score is undefined.

    Scores on the same examples vary together, so that this finds chance where `_paired` may not, seldom the reverse.
    """
    metric = spec.objective.metric
    mine, other = ((scores or {}).get(metric) for scores in (test, baseline.test))
    if mine is None or other is None or interval is None or baseline.interval is None:
        return None
    value = (mine - other) * (1 if spec.maximize else -1)
    error = math.hypot(interval.error, baseline.interval.error)
    if not error > 0:
        return None
    reach = error * NormalDist().inv_cdf(1 - CHANCE)
    p_value = 1 - NormalDist().cdf(value / error)
    return Gain(
        value=value,
        split="test",
        examples=examples,
        interval=Interval(low=value - reach, high=value + reach, level=LEVEL, method="independent"),
        p_value=p_value,
        test="independent",
        is_noise=p_value > CHANCE,
    )


def remark(spec: StudySpec, noise: Noise | None, winner: int) -> str | None:
    """Return the sentence that a winner's gain over the baseline may be chance, with the cure; None where it is not.

    Args:
        spec: The study's.
        noise: Of its scores; None: they were not measured.
        winner: The number of the trial that won.
    """
    if noise is None:
        return None
    if winner == 0:
        return "The search found nothing better than the baseline, trial 0; more trials or another space may."
    gain = noise.gain
    if gain is None or not gain.is_noise:
        return None
    by = f"{gain_text(spec.objective.metric, gain)} (p = {gain.p_value:.4f})"
    if gain.value > 0:
        said = f"The gain over the baseline, trial 0, is within the noise and may be chance: {by}."
    else:
        said = f"The winner is no better than the baseline, trial 0: {by}."
    if gain.split == "validation":
        said += " The winner was chosen on these very examples, so that the true gain is likely smaller."
    return f"{said} {_cure(spec)}"


def gain_text(metric: str, gain: Gain) -> str:
    """Return a gain with its interval and the number of examples, as a phrase."""
    text = f"{gain.value:+.4f} {metric} on {gain.examples:,} {gain.split} examples"
    return text if gain.interval is None else f"{text}, {interval_text(gain.interval, signed=True)}"


def interval_text(interval: Interval, signed: bool = False) -> str:
    """Return an interval as a phrase."""
    low, high = (f"{end:+.4f}" if signed else f"{end:.4f}" for end in (interval.low, interval.high))
    return f"{interval.level:.0%} interval {low} to {high}"


def _cure(spec: StudySpec) -> str:
    more = "more test examples tell smaller gains apart"
    if spec.confirm is not None:
        return f"{more[0].upper()}{more[1:]}."
    return f"{CONFIRM} in the spec trains the best again on fresh seeds before one wins; {more}."
