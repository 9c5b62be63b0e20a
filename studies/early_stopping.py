"""Early stopping: the rule that ends a trial whose score stands still, as complete with its best evaluation.

The trial itself applies it; the service asks by the same rule whether an evaluation was a trial's last one. It is a
function of the scores, so that a trial that continues after a crash ends at the same evaluation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, FiniteFloat

from luthier.studies.documents import Document, Path
from luthier.studies.prunable import patience_of
from luthier.studies.strategy import Objective, Pruner


class EarlyStopping(Document):
    """The rule that ends a trial, as complete with its best evaluation, once its score stands still."""

    patience: int = Field(
        2,
        ge=1,
        le=10_000,
        description="A trial ends at the evaluation that is the so-many-th in a row without a better score.",
    )
    min_delta: FiniteFloat = Field(
        0.0, ge=0, le=1e6, description="Better means: by more than this, in units of the objective's metric."
    )

    def ends(self, scores: Mapping[int, float], maximize: bool) -> bool:
        """Return whether a trial with these scores has ended at the last of them.

        Args:
            scores: Evaluation, from 1 -> the objective; evaluations where it is undefined are left out.
            maximize: A higher score is better.
        """
        standstill = Standstill()
        for step in range(1, max(scores, default=0) + 1):
            standstill = standstill.after(scores.get(step), self, maximize)
        return standstill.is_over(self)


@dataclass(frozen=True)
class Standstill:
    """How long a trial's score stands still.

    Attributes:
        record: The score that has to be beaten; None before the first that is a number.
        evaluations: Evaluations in a row that were no better, up to the last one.
    """

    record: float | None = None
    evaluations: int = 0

    def after(self, score: float | None, rule: EarlyStopping, maximize: bool) -> "Standstill":
        """Return the standstill after one more evaluation.

        Small steps add up: the record moves only once it is beaten by more than `min_delta`. An evaluation without a
        score is no better than the record; before the first score nothing is counted.

        Args:
            score: The objective; None, or a number that is not finite, where it is undefined.
            rule: Says how much better is better.
            maximize: A higher score is better.
        """
        if score is None or not math.isfinite(score):
            return self if self.record is None else Standstill(self.record, self.evaluations + 1)
        if self.record is None or (score - self.record if maximize else self.record - score) > rule.min_delta:
            return Standstill(score)
        return Standstill(self.record, self.evaluations + 1)

    def is_over(self, rule: EarlyStopping) -> bool:
        """Return whether the score has stood still for so long that the trial ends."""
        return self.evaluations >= rule.patience


def stopping_problems(
    rule: EarlyStopping | None, objective: Objective, pruner: Pruner, longest: int
) -> list[tuple[Path, str]]:
    """Return why a spec's early stopping cannot be: each a path in the spec, and a sentence with the cure.

    Args:
        rule: The spec's; None: it has none.
        objective: The spec's.
        pruner: The spec's.
        longest: Evaluations of the longest trial.
    """
    if rule is None:
        return []
    if objective.measurement == "last":
        text = "has no meaning with objective.measurement: last, since a trial that ends early would be scored where "
        return [(("early_stopping",), f"{text}it had become no better; take measurement: best")]
    if rule.patience + 1 >= longest:
        able = f"set it to at most {longest - 2}, " if longest > 2 else ""
        text = f"can end no trial: the longest has {longest} evaluation{'s' if longest > 1 else ''}; {able}raise "
        return [
            (
                ("early_stopping", "patience"),
                f"{text}space.epochs or evaluations_per_epoch, or leave early_stopping out",
            )
        ]
    if pruner.name == "patient" and rule.patience <= patience_of(pruner) + 1:
        least = patience_of(pruner) + 2
        text = "ends each trial before the pruner patient could: that tolerates pruner.patience evaluations without a "
        return [(("early_stopping", "patience"), f"{text}better score; set it to at least {least}, or pruner: none")]
    return []
