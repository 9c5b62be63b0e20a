"""Champion and challenger: whether a new model is really better than the one in use.

Both are scored on the same examples, so the test is a paired one. Where every example is either right or wrong and
stands for itself, the exact form of McNemar's test; for any other metric, and where examples come in groups, the
randomization test, with an interval by the bootstrap. A challenger is promoted when it is better at the confidence that
was asked for, and by more than the margin. So a model that is only as good as the champion is promoted in at most
1 - confidence of all runs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat

from luthier.studies.documents import Document
from luthier.studies.results import Comparison
from luthier.studies.strategy import Objective
from luthier.studies.wire import Metrics

MCNEMAR = (
    "McNemar's test, exact, one-sided (Q. McNemar 1947, Psychometrika 12, 153-157; the interval after C. J. Clopper "
    "and E. S. Pearson 1934, Biometrika 26, 404-413)"
)
RANDOMIZATION = (
    "approximate randomization, one-sided (E. W. Noreen 1989, Computer-Intensive Methods for Testing Hypotheses; "
    "A. Yeh 2000, COLING, 947-953; the interval by the percentile bootstrap, B. Efron and R. J. Tibshirani 1993, "
    "An Introduction to the Bootstrap, chapter 13)"
)
ROUNDING = 1e-12  # sums in another order differ by so little
ACCURACIES = ("accuracy", "token_accuracy")  # means of right or wrong


class Promote(Document):
    """When a challenger takes the champion's place, and how many candidates contend for being the challenger."""

    margin: FiniteFloat = Field(0.0, ge=0, description="It must be better by more than this.")
    confidence: FiniteFloat = Field(0.95, ge=0.5, le=0.999, description="At most 1 - confidence are promoted by luck.")
    candidates: int = Field(3, ge=1, le=20, description="Best configurations of a study that are trained again.")
    seeds: int = Field(3, ge=0, le=20, description="Fresh seeds for each of them, best mean wins; 0: not again.")


class PairedTest(Document):
    """A paired test. `interval`: the difference lies above its lower end at the confidence asked for, one-sided, and
    below its upper end likewise; `p_value`: how often a challenger no better would look as good."""

    name: Literal["mcnemar", "randomization"]
    source: str
    p_value: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat]


class ComparedModel(Document):
    """A model that was compared: which trial of a run's study it is."""

    run: int
    study: str
    trial: int
    params: dict[str, Any]


class DataSeen(Document):
    """What a run's inspection found. Without rows and labels where its study is not kept any more."""

    fingerprint: str | None
    rows: dict[str, int]  # split -> examples
    labels: dict[str, int]  # label -> examples, over all splits


class ComparisonContext(Document):
    """Who was compared with whom, and what is different from when the champion was made."""

    champion: ComparedModel
    challenger: ComparedModel
    data: DataSeen
    data_before: DataSeen  # the champion's
    changed: tuple[str, ...]  # a sentence each

    @classmethod
    def of(
        cls, champion: ComparedModel, challenger: ComparedModel, data: DataSeen, data_before: DataSeen
    ) -> "ComparisonContext":
        changed = _changes("", champion.params, challenger.params)
        if data.fingerprint == data_before.fingerprint:
            changed.append("the data is the same")
        else:
            changed.append("the data is another")
            changed += _changes("rows for ", data_before.rows, data.rows)
            changed += _changes("rows labelled ", data_before.labels, data.labels)
        return cls(champion=champion, challenger=challenger, data=data, data_before=data_before, changed=tuple(changed))


def _changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A sentence for each value that both have and that differs."""
    both = [name for name in after if name in before and before[name] != after[name]]
    return [f"{prefix}{name}: {_short(before[name])} became {_short(after[name])}" for name in both]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class PromotionDecision(Document):
    """Why a challenger was promoted or not, for a person and for a program. Differences are the challenger's score
    minus the champion's, turned so that more is better."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    promoted: bool
    reason: str
    metric: str
    maximize: bool
    champion: Metrics  # every metric of the task, on the examples below
    challenger: Metrics
    difference: FiniteFloat | None
    margin: FiniteFloat
    confidence: FiniteFloat
    test: PairedTest | None  # None where there was nothing to compare
    examples: int
    excluded: int = Field(alias="left_out")  # examples of the split that one of them saw in training or selection
    gained: int  # units (examples, or words) that only the challenger has right
    lost: int  # that only the champion has right
    contest: ComparisonContext | None = None


def mcnemar(gained: int, lost: int, units: int, confidence: float) -> PairedTest:
    """Whether the challenger is right more often. Of the `gained` + `lost` units that one of them alone has right, each
    is the challenger's with probability 1/2 if both are equally good: P(X >= gained), X ~ Binomial(gained + lost, 1/2).

    Raises ValueError without units.
    """
    from scipy.stats import beta, binom

    if units <= 0:
        raise ValueError("there are no units to compare on")
    apart, tail = gained + lost, 1 - confidence
    p_value = float(binom.sf(gained - 1, apart, 0.5)) if apart else 1.0
    low = float(beta.ppf(tail, gained, lost + 1)) if gained else 0.0
    high = float(beta.ppf(confidence, gained + 1, lost)) if lost else 1.0
    ends = [(2 * share - 1) * apart / units + 0.0 for share in (low, high)]  # + 0.0: no negative zero
    return PairedTest(name="mcnemar", source=MCNEMAR, p_value=p_value, interval=(ends[0], ends[1]))


def randomization(
    difference: float, exchanged: Sequence[float], resampled: Sequence[float], confidence: float
) -> PairedTest:
    """Whether `difference` is more than chance. Were both models equally good, it would not matter which of them gave
    which answer to an example: `exchanged` are the differences with the two answers exchanged or not, by a coin for
    each example (or group of them). `resampled` are those on resamples of the examples, for the interval.

    Raises ValueError without either.
    """
    if not exchanged or not resampled:
        raise ValueError("there are no replicates")
    as_good = sum(1 for value in exchanged if value >= difference - ROUNDING)
    ordered, tail = sorted(resampled), 1 - confidence
    low = ordered[max(0, math.ceil(tail * len(ordered)) - 1)]
    high = ordered[min(len(ordered) - 1, math.floor(confidence * len(ordered)))]
    p_value = (as_good + 1) / (len(exchanged) + 1)
    return PairedTest(name="randomization", source=RANDOMIZATION, p_value=p_value, interval=(low, high))


def judge(found: Comparison, objective: Objective, promote: Promote) -> PromotionDecision:
    """The decision over what was measured."""
    champion, challenger = (scores.get(objective.metric) for scores in (found.champion, found.challenger))
    difference, test = None, None
    if champion is not None and challenger is not None and found.examples:
        difference = challenger - champion if objective.direction == "maximize" else champion - challenger
        if found.independent and objective.metric in ACCURACIES:
            test = mcnemar(found.gained, found.lost, found.labelled_units, promote.confidence)
        elif found.exchanged and found.resampled:
            test = randomization(difference, found.exchanged, found.resampled, promote.confidence)
    promoted, reason = _verdict(found, objective, promote, difference, test)
    return PromotionDecision(
        promoted=promoted,
        reason=reason,
        metric=objective.metric,
        maximize=objective.direction == "maximize",
        champion=found.champion,
        challenger=found.challenger,
        difference=difference,
        margin=promote.margin,
        confidence=promote.confidence,
        test=test,
        examples=found.examples,
        excluded=found.excluded,
        gained=found.gained,
        lost=found.lost,
    )


def _verdict(
    found: Comparison, objective: Objective, promote: Promote, difference: float | None, test: PairedTest | None
) -> tuple[bool, str]:
    """Whether to promote, and the sentence that says why."""
    if difference is None or test is None:
        if not found.examples:
            return (
                False,
                "Kept: every example of the test split is known to one of the two, so nothing tells them apart.",
            )
        champion = found.champion.get(objective.metric)
        if champion is None and found.challenger.get(objective.metric) is not None:
            return True, f"Promoted: the champion has no finite {objective.metric} on this data any more."
        return False, f"Kept: the challenger has no finite {objective.metric} to compare."
    by = f"{difference:+.4f} {objective.metric} on {found.examples} examples (p = {test.p_value:.4f})"
    if test.p_value > 1 - promote.confidence:
        return False, f"Kept: {by} may be chance; promotion asks for p <= {1 - promote.confidence:.4g}."
    if difference <= promote.margin + ROUNDING:
        return False, f"Kept: {by} is not more than the margin of {promote.margin:g}."
    return True, f"Promoted: {by} is better than the champion."
