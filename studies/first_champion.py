"""The first champion of a schedule: what a winner must reach before anything is in use.

A run asks `refusal` where no model is in use. Later challengers are judged beside the champion, by `promotion.py`.
"""

from luthier.studies.noise import Noise, interval_text
from luthier.studies.promotion import Promote, reaches
from luthier.studies.results import Majority
from luthier.studies.semantics import FIRST_IS_EARNED
from luthier.studies.spec import StudySpec, is_better
from luthier.studies.wire import Metrics

AGAIN = "The next run tries again."


def refusal(spec: StudySpec, promote: Promote, majority: Majority | None, test: Metrics | None) -> str | None:
    """Return the sentence that says why a winner is not good enough for a first champion, or None if it is.

    It must reach `promote.minimum`; where there is none, beat the most frequent answer. It is the score on the test
    split that counts, as it is: nothing is in use that a stricter test would protect.

    Args:
        spec: The study's; of older semantics it need not beat the most frequent answer.
        promote: The schedule's rules.
        majority: The scores of the most frequent answer; None: the task has none, or it was not measured.
        test: The winner's scores on the test split.
    """
    metric = spec.objective.metric
    value = (test or {}).get(metric)
    if promote.minimum is not None:
        return None if reaches(value, promote.minimum, spec.maximize) else _below(spec, value, promote.minimum)
    if spec.semantics < FIRST_IS_EARNED:
        return None
    begin = "Nothing is in use: "
    if value is None:
        return f"{begin}the winner has no finite {metric} on test. {AGAIN}"
    if majority is None or majority.test is None:
        return None
    other = majority.test.get(metric)
    answer = f"always answering {majority.label!r}"
    if other is None:
        if not spec.maximize or value > 0:
            return None
        return (
            f"{begin}the winner's {metric} on test is {value:.4f}; {answer} has none, which counts as 0. {_bar(AGAIN)}"
        )
    if is_better(value, other, spec.maximize):
        return None
    return f"{begin}the winner's {metric} on test is {value:.4f}, and {answer} alone has {other:.4f}. {_bar(AGAIN)}"


def caveat(spec: StudySpec, majority: Majority | None, test: Metrics | None, noise: Noise | None) -> str | None:
    """Return the sentence that a first champion may be better than the most frequent answer by chance alone, if so."""
    metric = spec.objective.metric
    value, other = ((scores or {}).get(metric) for scores in (test, majority.test if majority else None))
    interval = noise.interval if noise else None
    if majority is None or value is None or other is None or interval is None:
        return None
    if not (is_better(value, other, spec.maximize) and interval.low <= other <= interval.high):
        return None
    return (
        f"Its {metric} of {value:.4f} on test may be chance: the {interval_text(interval)} holds the {other:.4f} of "
        f"always answering {majority.label!r}."
    )


def _below(spec: StudySpec, value: float | None, minimum: float) -> str:
    metric = spec.objective.metric
    score = f"no finite {metric}" if value is None else f"{metric} {value:.4f}"
    return f"Nothing is in use: the winner has {score} on test, and promote.minimum asks for {minimum:g}. {AGAIN}"


def _bar(text: str) -> str:
    return f"A first champion must beat that, or reach `promote.minimum` where the schedule sets one. {text}"
