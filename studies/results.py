"""The results of assignments other than training: an inspection, an evaluation, a comparison, uses of a winner.

A worker sends one within its `Outcome`; the service stores it as JSON, so its fields keep their names there for ever.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from luthier.studies.averages import Average
from luthier.studies.depth_scores import DepthProbe
from luthier.studies.findings import MOST_FINDINGS, Finding, note
from luthier.studies.hyperparameters import Params
from luthier.studies.intervals import Interval
from luthier.studies.winner_tables import Results
from luthier.studies.wire import (
    LARGEST_SCORE,
    Bytes,
    Count,
    FileRef,
    Message,
    Metrics,
    MicroBatch,
    Score,
    Seconds,
)

BLOCKS = 10_000  # of a model
LONGEST = 1_000_000  # input, in tokens or milliseconds
LABELS = 1_000_000  # of a data set
REPLICATES = 100_000  # of a comparison
Label = Annotated[str, Field(max_length=10_000)]
Difference = Annotated[FiniteFloat, Field(ge=-2 * LARGEST_SCORE, le=2 * LARGEST_SCORE)]


class Batching(StrEnum):
    """The ways of putting a model's inputs into batches, so that no answer depends on the rest of its batch.

    An inspection tries them in this order.
    """

    RIGHT = "right"  # padded on the right, to the longest of the batch
    LEFT = "left"  # padded on the left: the model reads its last place, whatever is there
    EQUAL = "equal"  # only inputs of the same length together: the model takes padding for a part of the input
    SINGLE = "single"  # one input at a time: an answer depends on the other inputs also where none is padded


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
    """A model's blocks, bottom first, the parameters trained at freeze depth 0, 1, ... L, and how it takes batches."""

    blocks: list[Block] = Field(max_length=BLOCKS)
    trainable_parameters: list[Count] = Field(max_length=BLOCKS + 1)
    # Written only where it is not the usual one; so inspections from before it was looked for are written as they were.
    batching: Batching = Field(Batching.RIGHT, exclude_if=lambda batching: batching is Batching.RIGHT)
    # What `pooling: auto` stands for; None where the model's class has one pooling.
    pooling: Literal["first", "mean", "last"] | None = Field(None, exclude_if=lambda pooling: pooling is None)
    # None where it was not measured: by older semantics, for other tasks than those of one vector, or for its cost.
    probe: DepthProbe | None = Field(None, exclude_if=lambda probe: probe is None)


class Majority(Message):
    """The scores of always giving the answer that is most frequent in the training split, whatever the example."""

    label: Label  # the answer, for people
    validation: Metrics
    test: Metrics | None = None  # None without a test split


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
    majority: Majority | None = None  # None where the task has no constant answer, or an older version inspected

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


class BaselineWeights(Message):
    """The baseline's configuration, seed and weights, to be scored beside the winner's."""

    params: Params
    seed: int
    weights: FileRef  # in the folder of the winner's evaluation


class Pair(Message):
    """The winner and the baseline on the same examples.

    Differences are the winner's score less the baseline's, with the sign turned where less is better, so that more is
    better.
    """

    split: Literal["validation", "test"]
    examples: Count
    labelled_units: Count  # parts of examples that get one label: the example, or its words
    independent: bool  # every unit is an example of its own, related to no other
    winner: Score  # the objective
    baseline: Score
    gained: Count  # units that only the winner has right
    lost: Count  # units that only the baseline has right
    exchanged: list[Difference] = Field([], max_length=REPLICATES)  # as in a Comparison
    resampled: list[Difference] = Field([], max_length=REPLICATES)


class BaselineScores(Message):
    """The baseline on the test split."""

    test: Metrics | None  # None without a test split
    interval: Interval | None = None  # of the objective


class Sampling(Message):
    """How exact a study's scores are: what other examples of the same kind would change."""

    standard_error: Annotated[FiniteFloat, Field(ge=0)] | None = None  # of the winner's objective on validation
    interval: Interval | None = None  # of its objective on test
    baseline: BaselineScores | None = None  # None: it is the winner, or its weights are gone
    pair: Pair | None = None


class Evaluation(Message):
    """The winner's scores on the test split, and the winner as a packed model."""

    test: Metrics | None  # None without a test split
    model: FileRef  # model.tar.gz
    # None of an older version's worker, and where a study is measured as older versions did.
    results: Results | None = Field(None, exclude_if=lambda results: results is None)
    # None, and not written: the semantics ask for none.
    sampling: Sampling | None = Field(None, exclude_if=lambda sampling: sampling is None)
    # None, and not written: nothing was to be averaged.
    average: Average | None = Field(None, exclude_if=lambda average: average is None)


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


class Prediction(Message):
    """The winner's answers to the rows of a user's table."""

    rows: Count  # of the table
    unreadable: Count  # rows that could not be used; each has its reason in the file
    file: FileRef  # predictions.csv


class OnnxExport(Message):
    """The winner as an ONNX file, once it gave the answers of torch to rows of the study's data."""

    rows: Count  # that both were given
    difference: Annotated[FiniteFloat, Field(ge=0)]  # the largest between two outputs, by their size above 1
    file: FileRef  # onnx.tar.gz
