"""Image classification: a label for each image."""

from collections.abc import Sequence

from luthier.studies.tasks import TASKS
from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.image_inputs import ImageInputs
from luthier.trials.tasks.metrics import among_highest, classification_scores
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics

TOP5 = "top5"
"""Name of the statistic that says whether the label is among the five most likely ones."""


class ImageClassification(ImageInputs[ClassTargets], Classification):
    """An image classifier."""

    name = "image-classification"

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return those of a classification, and whether the label is among the five most likely ones."""
        return super().statistics(answers, encoded, rows) | {
            TOP5: among_highest(answers["logits"], answers["labels"], 5)
        }

    def scores(self, statistics: Statistics, targets: ClassTargets) -> Metrics:
        """Compute accuracy, top-5 accuracy, macro F1 and loss."""
        values = classification_scores(statistics.units, len(targets.names))
        values |= {"top5_accuracy": float(statistics.units[TOP5].double().mean())}
        return {metric.name: values[metric.name] for metric in TASKS[self.name].metrics}
