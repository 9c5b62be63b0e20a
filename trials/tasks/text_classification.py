"""Text classification: a label for each text or pair of texts."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.metrics import LABEL, auc, class_ranks, classification_scores, ranking
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_inputs import TextInputs

RANKING, RANKS = "ranking", "ranks"
"""Names of the statistics by which the area under the ROC curve ranks examples: scores, and their ranks."""


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

    def score(self, metric: str, statistics: Statistics, targets: ClassTargets) -> float | None:
        """Compute one metric: the area under the curve takes longer than all the others."""
        units = statistics.units
        if metric != "auc":
            return classification_scores(units, len(targets.names))[metric]
        if RANKS in units:
            return auc(units[RANKS], units[LABEL], ranked=True)
        return auc(units[RANKING], units[LABEL])

    def on_one_scale(self, metric: str, statistics: Statistics) -> Statistics | None:
        """Return the examples' ranks in place of the scores that the area under the curve ranks."""
        scores = statistics.units[RANKING]
        if metric != "auc" or not bool(torch.isfinite(scores).all()):
            return None
        return replace(statistics, units={LABEL: statistics.units[LABEL], RANKS: class_ranks(scores)})
