"""Champion and challenger: the paired tests that decide whether a new model replaces the one in use.

A schedule's run calls `judge` on the scores that a worker measured. Both models are scored on the same examples. Where
every example is either right or wrong and independent of the others, the test is the exact form of McNemar's; for any
other metric, and where examples come in groups, it is the randomization test, with an interval by the bootstrap. A
challenger is promoted when it is better at the confidence of the schedule, and by more than its margin. So a model that
is only as good as the champion is promoted in at most 1 - confidence of all runs.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, FiniteFloat

from luthier.studies.documents import Document
from luthier.studies.paired_tests import ROUNDING, PairedTest, mcnemar, randomization
from luthier.studies.results import Comparison
from luthier.studies.strategy import Objective
from luthier.studies.wire import Metrics


class Promote(Document):
    """The rules by which a run's challenger is chosen, and by which it replaces the champion."""

    margin: FiniteFloat = Field(0.0, ge=0, description="It must be better by more than this.")
    confidence: FiniteFloat = Field(0.95, ge=0.5, le=0.999, description="At most 1 - confidence are promoted by luck.")
    minimum: FiniteFloat | None = Field(
        None,
        description="Its objective on the test split must reach this: be at least so high, or at most where less is "
        "better. The first champion need not beat the most frequent answer then.",
    )
    candidates: int = Field(3, ge=1, le=20, description="Best configurations of a study that are trained again.")
    seeds: int = Field(3, ge=0, le=20, description="Fresh seeds for each of them, best mean wins; 0: not again.")


class ComparedModel(Document):
    """A model that was compared: the trial of a run's study that it comes from."""

    run: int  # the run's id
    study: str
    trial: int
    params: dict[str, Any]


class DataSeen(Document):
    """The data set of a run, as its inspection describes it; rows and labels are empty once its study is deleted."""

    fingerprint: str | None  # SHA-256 of the examples and their splits
    rows: dict[str, int]  # split -> examples
    labels: dict[str, int]  # label -> examples, over all splits


class ComparisonContext(Document):
    """The two models of a comparison, and the differences between their configurations and data sets."""

    champion: ComparedModel
    challenger: ComparedModel
    data: DataSeen
    data_before: DataSeen  # the champion's
    changed: tuple[str, ...]  # a sentence each

    @classmethod
    def of(
        cls, champion: ComparedModel, challenger: ComparedModel, data: DataSeen, data_before: DataSeen
    ) -> "ComparisonContext":
        """Return the context of a comparison; `data_before` is the data set of the champion's run."""
        changed = _changes("", champion.params, challenger.params)
        if data.fingerprint == data_before.fingerprint:
            changed.append("the data is the same")
        else:
            changed.append("the data is another")
            changed += _changes("rows for ", data_before.rows, data.rows)
            changed += _changes("rows labelled ", data_before.labels, data.labels)
        return cls(champion=champion, challenger=challenger, data=data, data_before=data_before, changed=tuple(changed))


def _changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value that both have and that is different."""
    both = [name for name in after if name in before and before[name] != after[name]]
    return [f"{prefix}{name}: {_short(before[name])} became {_short(after[name])}" for name in both]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class PromotionDecision(Document):
    """The decision to promote a challenger or not, with its reasons, for people and for programs.

    Differences are the challenger's score minus the champion's, with the sign turned where less is better.
    """

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
    gained: int  # labelled units (examples, or words) that only the challenger has right
    lost: int  # labelled units that only the champion has right
    contest: ComparisonContext | None = None


def reaches(score: float | None, minimum: float, maximize: bool) -> bool:
    """Return whether a score is as good as `promote.minimum` or better; one that is not finite is not."""
    return score is not None and (score >= minimum - ROUNDING if maximize else score <= minimum + ROUNDING)


def judge(comparison: Comparison, objective: Objective, promote: Promote, binary: bool) -> PromotionDecision:
    """Decide whether the challenger of a comparison replaces the champion.

    Args:
        comparison: The scores that a worker measured.
        objective: The study's objective; its metric decides.
        promote: The schedule's margin and confidence.
        binary: The metric is the share of units that are right (`Metric.binary`).
    """
    champion, challenger = (scores.get(objective.metric) for scores in (comparison.champion, comparison.challenger))
    difference: float | None = None
    test: PairedTest | None = None
    if champion is not None and challenger is not None and comparison.examples:
        difference = challenger - champion if objective.direction == "maximize" else champion - challenger
        if comparison.independent and binary and not comparison.exchanged:  # an older worker's may lack what is gained
            test = mcnemar(comparison.gained, comparison.lost, comparison.labelled_units, promote.confidence)
        elif comparison.exchanged and comparison.resampled:
            test = randomization(difference, comparison.exchanged, comparison.resampled, promote.confidence)
    promoted, reason = _verdict(comparison, objective, promote, difference, test)
    return PromotionDecision(
        promoted=promoted,
        reason=reason,
        metric=objective.metric,
        maximize=objective.direction == "maximize",
        champion=comparison.champion,
        challenger=comparison.challenger,
        difference=difference,
        margin=promote.margin,
        confidence=promote.confidence,
        test=test,
        examples=comparison.examples,
        excluded=comparison.excluded,
        gained=comparison.gained,
        lost=comparison.lost,
    )


def _verdict(
    comparison: Comparison, objective: Objective, promote: Promote, difference: float | None, test: PairedTest | None
) -> tuple[bool, str]:
    """Return whether to promote, and the sentence that says why."""
    score = comparison.challenger.get(objective.metric)
    maximize = objective.direction == "maximize"
    if promote.minimum is not None and comparison.examples and not reaches(score, promote.minimum, maximize):
        told = "no finite" if score is None else f"{score:.4f}"
        return (
            False,
            f"Kept: the challenger has {told} {objective.metric}, and promote.minimum asks for {promote.minimum:g}.",
        )
    if difference is None or test is None:
        if not comparison.examples:
            return (
                False,
                "Kept: every example of the test split is known to one of the two, so nothing tells them apart.",
            )
        champion = comparison.champion.get(objective.metric)
        if champion is None and comparison.challenger.get(objective.metric) is not None:
            return True, f"Promoted: the champion has no finite {objective.metric} on this data any more."
        return False, f"Kept: the challenger has no finite {objective.metric} to compare."
    by = f"{difference:+.4f} {objective.metric} on {comparison.examples} examples (p = {test.p_value:.4f})"
    if test.p_value > 1 - promote.confidence:
        return False, f"Kept: {by} may be chance; promotion asks for p <= {1 - promote.confidence:.4g}."
    if difference <= promote.margin + ROUNDING:
        return False, f"Kept: {by} is not more than the margin of {promote.margin:g}."
    return True, f"Promoted: {by} is better than the champion."
