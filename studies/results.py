"""The results of assignments other than training: an inspection, an evaluation, a comparison.

A worker sends one within its `Outcome`; the service stores it as JSON, so its fields keep their names there for ever.
"""

from typing import Annotated, Any

from pydantic import Field, FiniteFloat, model_validator

from luthier.studies.findings import MOST_FINDINGS, Finding, note
from luthier.studies.wire import (
    LARGEST_SCORE,
    Bytes,
    Count,
    FileRef,
    Message,
    Metrics,
    MicroBatch,
    Seconds,
)

BLOCKS = 10_000  # of a model
LONGEST = 1_000_000  # input, in tokens or milliseconds
LABELS = 1_000_000  # of a data set
REPLICATES = 100_000  # of a comparison
Label = Annotated[str, Field(max_length=10_000)]
Difference = Annotated[FiniteFloat, Field(ge=-2 * LARGEST_SCORE, le=2 * LARGEST_SCORE)]


class Block(Message):
    """A block of the backbone and its parameter count."""

    name: str = Field(max_length=1_000)
    parameters: Count


class BatchFit(Message):
    """Memory of one batch size at the space's costliest configuration (longest inputs, fewest frozen blocks)."""

    batch_size: MicroBatch  # examples
    fits: bool  # in one piece
    micro_batch: MicroBatch  # examples of a piece that fits; the whole batch if `fits`
    memory_bytes: Bytes  # of the whole batch in one piece


class Estimates(Message):
    """The cost of a trial, from a probe of a few steps on the inspecting worker, at the baseline's configuration."""

    seconds_per_trial: Seconds
    memory_bytes: Bytes | None = None
    batch_sizes: list[BatchFit] = Field([], max_length=10_000)  # ascending


class ModelSummary(Message):
    """A model's blocks, bottom first, and the parameters trained at freeze depth 0, 1, ... L."""

    blocks: list[Block] = Field(max_length=BLOCKS)
    trainable_parameters: list[Count] = Field(max_length=BLOCKS + 1)


class Inspection(ModelSummary):
    """Model and data of a study, as `inspect` describes them: all that the service and later trials need."""

    further_models: list[ModelSummary] = Field(
        [], alias="others", max_length=1_000
    )  # of the spec's second model and the ones after it
    label_names: list[Label] = Field(
        max_length=LABELS
    )  # index = class id, the same in every trial and in the saved model
    labels: dict[Label, Count] = Field(max_length=LABELS)  # label -> rows with it, over all splits
    rows: dict[str, Count] = Field(max_length=100)  # split (train, validation, test) -> rows
    fingerprint: str = Field(max_length=64)  # SHA-256 of the examples and their splits
    estimates: Estimates | None = None
    max_length: Annotated[int, Field(ge=2, le=LONGEST)] | None = None  # what `auto` stands for; None where nothing asks
    findings: list[Finding] = Field([], max_length=MOST_FINDINGS)  # what is remarkable about data and models

    @model_validator(mode="before")
    @classmethod
    def _notes_of_before(cls, raw: Any) -> Any:
        """Take in the plain sentences that inspections had before they had findings."""
        if not isinstance(raw, dict) or "notes" not in raw:
            return raw
        older = [note("note", str(text)) for text in raw["notes"]]
        return {key: value for key, value in raw.items() if key != "notes"} | {"findings": older}

    @property
    def models(self) -> list[ModelSummary]:
        """Every model, in the spec's order."""
        return [self, *self.further_models]

    @property
    def depths(self) -> list[int]:
        """Every model's number of blocks, in the spec's order."""
        return [len(model.blocks) for model in self.models]


class Evaluation(Message):
    """The winner's scores on the test split, and the winner as a packed model."""

    test: Metrics | None  # None without a test split
    model: FileRef  # model.tar.gz


class Comparison(Message):
    """Scores of a schedule's champion and its challenger on the same examples of the test split.

    A labelled unit is a part of an example that gets one label: the whole example, or a word of it. Differences are
    the challenger's score minus the champion's, with the sign turned where less is better, so that more is better.
    """

    examples: Count
    excluded: Count = Field(alias="left_out")  # examples of the split that one of the two has seen before
    labelled_units: Count = Field(alias="units")
    independent: bool  # every unit is an example of its own, related to no other
    champion: Metrics
    challenger: Metrics
    gained: Count  # units that only the challenger has right
    lost: Count  # units that only the champion has right
    # The null distribution of the objective's difference: in each replicate a coin per example (or group of examples)
    # decides whether the two models' answers are swapped (E. W. Noreen 1989). Empty where no test needs it.
    exchanged: list[Difference] = Field([], max_length=REPLICATES)
    # The same difference on bootstrap resamples of the examples (or groups). Empty where no test needs it.
    resampled: list[Difference] = Field([], max_length=REPLICATES)
    predictions: FileRef  # the answers of both for each unit
