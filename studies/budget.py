"""What a study may spend: the limits of its search, a trial's share of a machine, and repetitions of the best."""

from typing import Self

from pydantic import Field, FiniteFloat, model_validator

from luthier.studies.documents import Document, Path, refuse
from luthier.studies.expected_gain import LEAST_TRIALS


class Budget(Document):
    """The limits of the search. At the first that is reached, the winner is measured on the test split."""

    trials: int | None = Field(None, ge=1, le=100_000, description="Trials started, the baseline included.")
    wall_clock_seconds: FiniteFloat | None = Field(None, gt=0, description="From the first trial's start.")
    gpu_seconds: FiniteFloat | None = Field(
        None,
        gt=0,
        description="Sum of the time workers were busy with trials, times the GPUs, or the share of one, of each.",
    )
    target: FiniteFloat | None = Field(None, description="Stop once a trial has ended with an objective this good.")
    failures: int | None = Field(None, ge=1, description="Stop as failed once so many trials have failed.")
    # Written only where it is set; so budgets from before there was such a thing are written as they were.
    patience: int | None = Field(
        None,
        ge=1,
        le=100_000,
        exclude_if=lambda patience: patience is None,
        description="Stop once so many trials in a row have ended without a better score.",
    )
    expected_gain: FiniteFloat | None = Field(
        None,
        gt=0,
        exclude_if=lambda gain: gain is None,
        description="Stop once the rest of the budget is expected to better the score by less, in the metric's units.",
    )
    trial_seconds: FiniteFloat | None = Field(
        None,
        gt=0,
        description="A trial that runs longer, over all its attempts, ends; it fails if it has no score.",
    )


def budget_problems(budget: Budget) -> list[tuple[Path, str]]:
    """Return why a budget never ends a study, or has a limit that never does, each with its path in the spec."""
    problems: list[tuple[Path, str]] = []
    if not (budget.trials or budget.wall_clock_seconds or budget.gpu_seconds):
        problems.append((("budget",), "must set trials, wall_clock_seconds or gpu_seconds, so that it ends"))
    if budget.patience is not None and budget.trials is not None:
        problems += patience_problems(budget.patience, budget.trials, "raise budget.trials")
    if budget.expected_gain is not None and budget.trials is not None:
        problems += gain_problems(budget.trials, "raise budget.trials")
    return problems


def gain_problems(trials: int, more: str) -> list[tuple[Path, str]]:
    """Return why no gain can be expected before a study ends; the arguments are those of `patience_problems`."""
    if trials > LEAST_TRIALS:
        return []
    text = f"can end no study of {trials} trials: an estimate needs {LEAST_TRIALS} that have ended, and one to come; "
    return [(("budget", "expected_gain"), f"{text}{more}, so that it has more, or leave it out")]


def patience_problems(patience: int, trials: int, more: str) -> list[tuple[Path, str]]:
    """Return why a patience can never be over: the first trial sets the score, and so many must follow.

    Args:
        patience: of the budget.
        trials: the most that the study can have.
        more: the cure that lets it have more.
    """
    if patience < trials:
        return []
    text = f"can never be over: so many trials must end after the first, and the study can have {trials}; "
    lower = f"set it to at most {trials - 1}, " if trials > 1 else ""
    return [(("budget", "patience"), f"{text}{lower}{more}, or leave patience out")]


class Resources(Document):
    """The share of a machine that a trial may take."""

    gpus: FiniteFloat | None = Field(
        None, gt=0, le=1, description="Share of a GPU; without it, as much as trials turn out to need."
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=65_536,
        exclude_if=lambda examples: examples is None,
        description="Examples that go through the model together, at most; a larger batch accumulates its gradient.",
    )


class Confirm(Document):
    """Repetitions of the best configurations on fresh seeds, so that no lucky run wins."""

    candidates: int = Field(3, ge=1, le=20, description="Configurations: those with the best scores.")
    seeds: int = Field(3, ge=1, le=20, description="Times each is trained again; the best mean wins.")
    # Written only where it is on; so specs from before there was such a thing are written as they were.
    average: bool = Field(
        False,
        exclude_if=lambda on: not on,
        description="The winner's weights are the mean of its repetitions', where that is better on validation.",
    )

    @model_validator(mode="after")
    def _has_members(self) -> Self:
        if self.average and self.seeds == 1:
            text = "has nothing to average: one seed gives one model; raise confirm.seeds, or leave average out"
            raise refuse("confirm", (("average",), text))
        return self
