"""What a study may spend: the limits of its search, a trial's share of a machine, and repetitions of the best."""

from pydantic import Field, FiniteFloat

from luthier.studies.documents import Document


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
    trial_seconds: FiniteFloat | None = Field(
        None,
        gt=0,
        description="A trial that runs longer, over all its attempts, ends; it fails if it has no score.",
    )


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
