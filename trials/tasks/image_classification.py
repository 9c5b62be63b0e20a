"""Image classification: a label for each image."""

from collections.abc import Sequence

from luthier.studies.strategy import Generation
from luthier.studies.tasks import TASKS
from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.image_inputs import ImageInputs
from luthier.trials.tasks.metrics import among_highest, classification_scores
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.usage import Usage, call

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

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: ClassTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Leave the processor as it is: it says all that is done to an image."""
        return Usage(
            tag=self.name,
            auto="AutoModelForImageClassification",
            kind="image_processor",
            processor=pretrained.processor,
            names=targets.names,
            code=f"""\
from transformers import pipeline

classify = {call(self.name, {})}
print(classify("image.png"))
""",
            notes=("Images of 16 bits a channel were scaled to 8 bits: do so before, as the pipeline clips them.",),
        )
