"""A packed model's predictions for the examples of a comparison, and their scores.

`compare` makes one `Predictions` for each of its two models; `replicates` scores them on resamples.
"""

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.studies.files import atomic_path
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.jobs.packed_model import PackedModel
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch

UNKNOWN = 1e4
"""How far below a model's lowest logit the logit of a label lies that the model does not know."""
FILE_NAME = "predictions.csv.gz"
HEADER = ("example", "label", "champion", "challenger")


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for the examples of a comparison.

    Attributes:
        task: The task's code.
        encoded: The examples as this model's inputs.
        logits: (units, classes of today's data) in float32 on the CPU.
    """

    task: TaskCode
    encoded: Encoded
    logits: torch.Tensor

    @property
    def right(self) -> torch.Tensor:
        """(units,) booleans, true where the highest logit is that of the label."""
        return self.logits.argmax(1) == self.encoded.labels

    def scores(self, label_names: Sequence[str], logits: torch.Tensor | None = None) -> Metrics:
        """Return every metric of the task over all examples.

        Args:
            label_names: Class id -> label.
            logits: (units, classes) instead of the model's own.
        """
        return self.task.scores(self.logits if logits is None else logits, self.encoded, label_names)

    def sample_scores(self, label_names: Sequence[str], rows: Sequence[int]) -> Metrics:
        """Return every metric of the task over some examples.

        Args:
            label_names: Class id -> label.
            rows: The examples' numbers; an example may be among them more than once.
        """
        units, sample = self.encoded.labels_of(rows)
        return self.task.scores(self.logits[units], sample, label_names)


def predict(
    packed: PackedModel,
    examples: Split,
    label_names: Sequence[str],
    task: str,
    session: Session,
    micro_batch: MicroBatch,
) -> Predictions:
    """Load a packed model and return its predictions, computed in plain float32 on every device.

    Args:
        packed: The model.
        examples: With labels of today's data.
        label_names: Those labels, by class id.
        task: The study's.
        session: Polled before each batch.
        micro_batch: The number of examples that go through the model together.

    Raises:
        BadData: The model or the examples cannot be used.
        Ended: The assignment is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    code = task_code(task)
    code.check(packed.folder, packed.folder.name)
    pretrained = code.load(packed.folder, packed.folder.name, packed.label_names)
    encoded = code.encode(pretrained, examples, packed.max_length)
    engine = Engine(pretrained.model, code, micro_batch, precision="float32")
    logits = engine.predict(encoded, session.poll)  # (units, the model's classes)
    return Predictions(code, encoded, by_label(logits, packed.label_names, label_names))


def by_label(logits: torch.Tensor, own: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Return logits with one column for each of `names`, (units, names), matched by label.

    A label that the model does not know is its last choice. A label of the model that is not among `names` any more has
    no column, so the model cannot choose it.

    Args:
        logits: (units, own).
        own: The model's labels, by class id.
        names: Today's labels, by class id.
    """
    lowest = logits.min(1).values - UNKNOWN
    columns = dict(zip(own, logits.unbind(1), strict=True))
    return torch.stack([columns.get(name, lowest) for name in names], 1)


def write_predictions(
    folder: Path, label_names: Sequence[str], rows: Sequence[int], models: Sequence[Predictions]
) -> Path:
    """Write a line for each unit: the example's place in the test split, its label, and each model's prediction.

    Args:
        folder: Where the file goes, as `FILE_NAME`.
        label_names: Class id -> label.
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
        offsets = models[0].encoded.example_offsets
        labels = models[0].encoded.labels.tolist()
        choices = [model.logits.argmax(1).tolist() for model in models]
        for example, row in enumerate(rows):
            for unit in range(offsets[example], offsets[example + 1]):
                chosen = (label_names[of_model[unit]] for of_model in choices)
                writer.writerow((row, label_names[labels[unit]], *chosen))
    path = folder / FILE_NAME
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(lines.getvalue().encode(), mtime=0))
    return path
