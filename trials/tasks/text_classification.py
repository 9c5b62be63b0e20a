"""Text classification: a label for each text or pair of texts."""

from collections.abc import Sequence

from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.metrics import LABEL, auc, classification_scores, ranking
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_inputs import TextInputs

RANKING = "ranking"
"""Name of the statistic by which the area under the ROC curve ranks examples."""


class TextClassification(TextInputs[ClassTargets], Classification):
    """A sequence classifier."""

    name = "text-classification"

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return those of a classification, and what the AUC ranks: two classes one score, more classes one each."""
        return super().statistics(answers, encoded, rows) | {RANKING: ranking(answers["logits"])}

    def scores(self, statistics: Statistics, targets: ClassTargets) -> Metrics:
        """Compute accuracy, macro F1, Matthews correlation, AUC and loss."""
        units = statistics.units
        return classification_scores(units, len(targets.names)) | {"auc": auc(units[RANKING], units[LABEL])}
