"""A packed model's predictions for the examples of a comparison, and their scores.

`compare` makes one `Predictions` for each of its two models; `replicates` scores them on resamples.
"""

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.studies.files import atomic_path
from luthier.studies.semantics import LABELS_MERGED, MEASURED_ALONE
from luthier.studies.spec import StudySpec
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.data.targets import Targets
from luthier.trials.jobs import exact
from luthier.trials.jobs.packed_model import PackedModel
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training.engine import Engine
from luthier.trials.training.generation import Writing
from luthier.trials.training.micro_batch import MicroBatch

FILE_NAME = "predictions.csv.gz"
HEADER = ("example", "label", "champion", "challenger")


@dataclass(frozen=True)
class Predictions:
    """A model's answers to the examples of a comparison, as statistics.

    Attributes:
        task: The task's code.
        targets: Those of today's data.
        encoded: The examples as this model's inputs.
        statistics: Of the model's answers.
    """

    task: TaskCode[Any]
    targets: Targets
    encoded: Encoded
    statistics: Statistics

    def scores(self, statistics: Statistics | None = None) -> Metrics:
        """Return every metric of the task over all examples, or of other statistics."""
        return self.task.scores(self.statistics if statistics is None else statistics, self.targets)

    def sampled(self, metric: str, statistics: Statistics, samples: Sequence[torch.Tensor]) -> list[float | None]:
        """Return one metric over many samples of statistics."""
        return self.task.sampled(metric, statistics, samples, self.targets)

    def on_one_scale(self, metric: str) -> Statistics | None:
        """Return the statistics without the model's own scale; None where a metric depends on it."""
        return self.task.on_one_scale(metric, self.statistics)


def predict(
    packed: PackedModel, examples: Split, targets: Targets, spec: StudySpec, session: Session, micro_batch: MicroBatch
) -> Predictions:
    """Load a packed model and return its answers, computed in plain float32 on every device.

    It writes texts as it did when it was scored, and as its users have it write, whatever today's spec says.

    Args:
        packed: The model.
        examples: Of today's data.
        targets: What is learned from that data.
        spec: The study's.
        session: Polled before each batch.
        micro_batch: The number of examples that go through the model together.

    Raises:
        BadData: The model or the examples cannot be used.
        Ended: The assignment is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    code = task_code(spec.task)
    code.check(packed.folder, packed.folder.name)
    pretrained = code.load(packed.folder, packed.folder.name, packed.targets)
    own = packed.targets.respelled(targets) if spec.semantics >= LABELS_MERGED else packed.targets
    writing = None if packed.generation is None else Writing(packed.generation)
    if spec.semantics >= MEASURED_ALONE:
        encoded = code.encode_exactly(pretrained, examples, packed.max_length).batched(packed.batching)
        statistics = exact.measure(pretrained.model, code, micro_batch, encoded, targets, session.poll, own, writing)
    else:
        encoded = code.encode(pretrained, examples, packed.max_length).batched(packed.batching)
        engine = Engine(pretrained.model, code, micro_batch, precision="float32")
        statistics = engine.evaluate(encoded, targets, session.poll, own=own, writing=writing)
    return Predictions(code, targets, encoded, statistics)


def count_gained(before: Predictions, after: Predictions) -> int:
    """Return how many units only `after` has right; 0 where answers are not right or wrong."""
    was, now = (side.task.right(side.statistics, side.targets) for side in (before, after))
    return 0 if was is None or now is None else int((now & ~was).sum())


def write_predictions(folder: Path, rows: Sequence[int], models: Sequence[Predictions]) -> Path:
    """Write a line for each unit: the example's place in the test split, its label, and each model's prediction.

    Args:
        folder: Where the file goes, as `FILE_NAME`.
        rows: The examples' places in the test split.
        models: Champion and challenger; none where there are no examples.

    Returns:
        The file, which is complete.

    Raises:
        OSError: The file cannot be written.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HEADER)
    if models:
        first = models[0]
        offsets = first.statistics.offsets
        counts = [1] * len(rows) if offsets is None else offsets.diff().tolist()  # units of each example
        places = (row for row, count in zip(rows, counts, strict=True) for _ in range(count))
        said = (model.task.said(model.statistics, model.encoded, model.targets) for model in models)
        truths = first.task.truths(first.statistics, first.encoded, first.targets)
        writer.writerows(zip(places, truths, *said, strict=True))
    path = folder / FILE_NAME
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(lines.getvalue().encode(), mtime=0))
    return path
