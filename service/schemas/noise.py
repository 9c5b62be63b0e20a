"""How exact the scores of a study are, as the REST interface answers it."""

from typing import Literal

from pydantic import BaseModel, FiniteFloat


class IntervalView(BaseModel):
    """An interval that holds the true score at its level.

    Attributes:
        low: its lower end.
        high: its upper end.
        level: 0.95.
        method: wilson, bca, clopper-pearson, percentile or independent.
    """

    low: FiniteFloat
    high: FiniteFloat
    level: FiniteFloat
    method: str


class GainView(BaseModel):
    """The winner's advantage over the baseline, on examples that both have answered.

    Attributes:
        value: the difference of their objectives, more is better.
        split: test, or validation where there is no test split.
        examples: of that split.
        interval: of `value`; null where resampling tells nothing.
        p_value: the probability of such a gain or a larger one if the winner were no better.
        test: mcnemar or randomization, on the same examples; independent, by two intervals, where the study was
            measured again.
        is_noise: it may be chance: `p_value` is above 0.025.
    """

    value: FiniteFloat
    split: Literal["validation", "test"]
    examples: int
    interval: IntervalView | None = None
    p_value: FiniteFloat
    test: Literal["mcnemar", "randomization", "independent"]
    is_noise: bool
