"""Multi-label classification: the parts that the tasks share whose rows get any number of labels.

Each label is a question of its own, answered by a probability; a label is given from a threshold on, which is 0.5 or
the one with the highest micro F1 on the validation split.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded, Values, take
from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.classification import LEAST_COUNT, by_label
from luthier.trials.tasks.export import Cell
from luthier.trials.tasks.insight import ClassCounts
from luthier.trials.tasks.label_cells import label_cells, label_columns
from luthier.trials.tasks.label_set_loss import LABELS, LabelSetLoss, indicators
from luthier.trials.tasks.label_set_metrics import best_cut, macro_f1, mean_average_precision, micro_f1
from luthier.trials.tasks.mixing import OTHER, SHARE, both
from luthier.trials.tasks.number_metrics import ranks
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.usage import Reading

LOGITS, MARGINS, LOSS = "logits", "margins", "loss"
"""Names of answers and statistics beside the true labels: the model's logits; those of which 0 is the threshold that
today's targets have for 0.5, where the model has its own; and each row's mean loss over its labels."""
LIMIT = 1e-6
"""The least distance of a searched threshold from 0 and 1."""


class Multilabel(RowTask[LabelSetTargets]):
    """A model whose logits are (rows, labels). A row is an example is a unit."""

    targets: ClassVar[type[LabelSetTargets]] = LabelSetTargets

    def head(self, targets: LabelSetTargets) -> Head:
        """Return a head with a logit for each label. Pipelines make a probability of each."""
        return Head(targets.label_names, {"problem_type": "multi_label_classification"})

    def encode_targets(self, rows: Sequence[Any]) -> dict[str, Values]:
        """Return the class ids as `labels`, (rows, most labels of a row) padded with -1."""
        most = max(1, *map(len, rows))
        return {LABELS: torch.tensor([[*labels, *[-1] * (most - len(labels))] for labels in rows])}

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the class ids of some rows, padded with -1; of mixtures those of both rows, and the shares."""
        names = [name for name in (LABELS, OTHER, SHARE) if name in encoded.targets]
        return {name: torch.as_tensor(take(encoded.targets[name], rows)) for name in names}

    def mixed_targets(
        self, targets: Mapping[str, Values], partners: Sequence[int], shares: torch.Tensor
    ) -> dict[str, Values]:
        """Return the labels of both rows of each mixture, and the share of the first."""
        return both(LABELS, targets, partners, shares)

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the logits, (rows, labels)."""
        return outputs["logits"]

    def loss(self, pretrained: Pretrained, targets: LabelSetTargets, training: Encoded, params: Params) -> Loss:
        """Return the binary cross-entropy or focal loss, with the configuration's weights and label smoothing."""
        weights = None
        if params["class_weighting"] != "none":
            ids = torch.as_tensor(training.targets[LABELS])
            counts = indicators(ids, len(targets.names)).sum(0).float()
            weights = ((len(training) - counts) / counts.clamp(min=1)).to(pretrained.model.device)
            weights[weights == 0] = 1.0  # a label of every row: nothing is to be balanced
        smoothing, gamma = float(params["label_smoothing"]), float(params["focal_gamma"])
        return LabelSetLoss(len(targets.names), weights, smoothing, gamma)

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return the logits, float32, and the class ids of the true labels, padded with -1."""
        return {LOGITS: outputs["logits"].float(), LABELS: targets[LABELS]}

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[float]]:
        """Return the probability of each label, for each row."""
        probabilities: list[list[float]] = answers[LOGITS].double().sigmoid().tolist()
        return probabilities

    def cells_header(self, targets: LabelSetTargets) -> tuple[str, ...]:
        """Return the labels, how sure the least sure of them is, and the probability of each label."""
        return label_columns(targets.names)

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: LabelSetTargets) -> Sequence[Cell]:
        """Return the labels of a row as a list, how sure the least sure of its labels is, and the probabilities."""
        least = min(max(value, 1 - value) for value in values[0])
        return [said[0], *label_cells(targets.names, values[0], least)]

    def translated(self, answers: Tensors, own: LabelSetTargets, targets: LabelSetTargets) -> Tensors:
        """Return the answers with a column for each of today's labels, and where the model's threshold is."""
        logits = by_label(answers[LOGITS], own.names, targets.names)
        shift = _logit(own.threshold) - _logit(targets.threshold)
        return {**answers, LOGITS: logits, MARGINS: logits.double() - shift}

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the labels, the logits that the threshold decides on, and each row's loss."""
        logits = answers[LOGITS].double()
        labels = indicators(answers[LABELS], logits.shape[1])
        loss = functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none").mean(1)
        return {LABELS: labels, MARGINS: answers.get(MARGINS, logits), LOSS: loss}

    def sureness(self, answers: Tensors) -> torch.Tensor:
        """Return how sure the least sure of each row's labels is."""
        given = answers[LOGITS].double().sigmoid()
        return torch.maximum(given, 1 - given).amin(1)

    def badness(self, statistics: Statistics, targets: LabelSetTargets) -> torch.Tensor:
        """Return the loss of each row."""
        return statistics.units[LOSS]

    def class_counts(self, statistics: Statistics, targets: LabelSetTargets) -> ClassCounts:
        """Return what is counted of each label."""
        said, true = _said(statistics, targets), statistics.units[LABELS].bool()
        return ClassCounts((said & true).sum(0), said.sum(0), true.sum(0))

    def right(self, statistics: Statistics, targets: LabelSetTargets) -> torch.Tensor:
        """Return whether all labels of each row are right, (rows,)."""
        return _are_right(statistics, targets)

    def scores(self, statistics: Statistics, targets: LabelSetTargets) -> Metrics:
        """Compute the F1 scores, the mean average precision, the share of rows without a fault, and the loss."""
        return {name: measure(statistics, targets) for name, measure in _MEASURES.items()}

    def score(self, metric: str, statistics: Statistics, targets: LabelSetTargets) -> float | None:
        """Compute one metric: the average precision of many labels takes longer than all the others."""
        return _MEASURES[metric](statistics, targets)

    def on_one_scale(self, metric: str, statistics: Statistics) -> Statistics | None:
        """Return the rows' ranks by each label's logit, for the mean average precision."""
        margins = statistics.units[MARGINS]
        if metric != "map" or not bool(torch.isfinite(margins).all()):
            return None
        return replace(statistics, units={**statistics.units, MARGINS: torch.stack([*map(ranks, margins.T)], 1)})

    def settles(self, params: Params) -> bool:
        """Return whether the threshold is searched on the validation split."""
        return params["threshold"] == "searched"

    def settled(self, targets: LabelSetTargets, validation: Statistics) -> LabelSetTargets:
        """Return the targets with the threshold of the highest micro F1."""
        margins = validation.units[MARGINS]
        cut = best_cut(margins, validation.units[LABELS]) if bool(torch.isfinite(margins).all()) else None
        if cut is None:
            return targets
        threshold = 1 / (1 + math.exp(-max(-50.0, min(50.0, cut))))
        return replace(targets, threshold=min(1 - LIMIT, max(LIMIT, threshold)))

    def constant(self, training: Sequence[Any], targets: LabelSetTargets) -> Constant:
        """Return the labels that have the highest micro F1 if they are given to every training row.

        Its value is the log odds of all labels as logits, and which of them are given: (labels,) each.
        """
        counts = torch.tensor(list(targets.counts([training]).values()), dtype=torch.double)
        share = (counts / len(training)).clamp(min=LEAST_COUNT, max=1 - LEAST_COUNT)
        ordered, order = counts.sort(descending=True, stable=True)
        f1 = 2 * ordered.cumsum(0) / (torch.arange(1, len(counts) + 1) * len(training) + counts.sum())
        given = torch.zeros(len(counts), dtype=torch.bool)
        given[order[: int(f1.argmax()) + 1]] = True
        named = [name for name, chosen in zip(targets.names, given.tolist(), strict=True) if chosen]
        return Constant(json.dumps(named, ensure_ascii=False), (share.logit().float(), given))

    def reference_answers(
        self, reference: Reference, constant: Constant, units: Tensors, targets: LabelSetTargets
    ) -> Batch:
        """Return the log odds of the labels and those that are given always; or logits for the true labels, or not."""
        ids = units[LABELS]
        if reference is Reference.CONSTANT:
            logits, given = (value.expand(len(ids), -1) for value in constant.value)
            return {LOGITS: logits, MARGINS: given.double() * 2 - 1, LABELS: ids}
        logits = indicators(ids, len(targets.names)).float() * 2 - 1
        return {LOGITS: logits if reference is Reference.RIGHT else -logits, LABELS: ids}

    def truths(self, statistics: Statistics, encoded: Encoded, targets: LabelSetTargets) -> Iterable[str]:
        """Return the labels of each row, as a list."""
        return _as_lists(statistics.units[LABELS], targets)

    def said(self, statistics: Statistics, encoded: Encoded, targets: LabelSetTargets) -> Iterable[str]:
        """Return the labels that are given to each row, as a list."""
        return _as_lists(_said(statistics, targets), targets)

    def reading(self, pretrained: Pretrained, targets: LabelSetTargets, examples: Split, max_length: int) -> Reading:
        """Write the threshold into the model's configuration, and into the code on its card."""
        config: Any = pretrained.model.config
        config.label_threshold = targets.threshold
        shown = "[found['label'] for found in {answer} if found['score'] > threshold]"
        setting = "threshold = classify.model.config.label_threshold"
        text = (
            "Each label has a probability of its own (`function_to_apply='sigmoid'`), whatever the others have. "
            f"Labels above {targets.threshold:.6g} are given: `label_threshold` in `config.json`, with which the model "
            "was scored."
        )
        return Reading("classify", "sigmoid", shown, (text,), setting)


def _said(statistics: Statistics, targets: LabelSetTargets) -> torch.Tensor:
    """Return the labels that are given, (rows, labels) booleans."""
    return statistics.units[MARGINS] > _logit(targets.threshold)


def _are_right(statistics: Statistics, targets: LabelSetTargets) -> torch.Tensor:
    return (_said(statistics, targets) == statistics.units[LABELS]).all(1)


def _loss(statistics: Statistics, targets: LabelSetTargets) -> float | None:
    loss = float(statistics.units[LOSS].mean())
    return loss if math.isfinite(loss) else None


_MEASURES: Mapping[str, Callable[[Statistics, LabelSetTargets], float | None]] = {
    "micro_f1": lambda found, targets: micro_f1(_said(found, targets), found.units[LABELS]),
    "macro_f1": lambda found, targets: macro_f1(_said(found, targets), found.units[LABELS]),
    "map": lambda found, targets: mean_average_precision(found.units[MARGINS], found.units[LABELS]),
    "subset_accuracy": lambda found, targets: float(_are_right(found, targets).double().mean()),
    "loss": _loss,
}


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _as_lists(marked: torch.Tensor, targets: LabelSetTargets) -> Iterable[str]:
    return (targets.as_text(row.nonzero()[:, 0].tolist()) for row in marked)
