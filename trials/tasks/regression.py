"""Regression: the parts that the tasks share whose rows get a number each.

A model learns numbers in units of the training split's deviation from its mean, whatever the data's units: so one
learning rate suits all. It is handed out with that scale in its last layer, so that its outputs are the data's numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded, Values, take
from luthier.trials.data.numbers import Numbers
from luthier.trials.data.splits import Split
from luthier.trials.model.last_layer import fold_scale
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.export import Cell, shown
from luthier.trials.tasks.insight import Pairs
from luthier.trials.tasks.number_metrics import mean_error, pearson, r2, ranks, spearman, standardised
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.usage import Reading

SAID, TRUE = "said", "true"
"""Names of answers and statistics: what the model said, in its own units, and the row's number in the data's."""
NAME = "number"
"""The name of a model's one output."""
SCALE = ("target_mean", "target_deviation")
"""Entries in the configuration of a model that could not take the scale in: number = mean + deviation * output."""


class Regression(RowTask[Numbers]):
    """A model whose outputs are (rows, 1). A row is an example is a unit."""

    targets: ClassVar[type[Numbers]] = Numbers

    def head(self, targets: Numbers) -> Head:
        """Return a head with one output, always a new one: that of a checkpoint has learned another scale."""
        return Head([NAME], {"problem_type": "regression"}, fresh=True)

    def loaded(self, pretrained: Pretrained, targets: Numbers) -> Pretrained:
        """Return the model; one that is packed with its scale in its configuration applies it."""
        config: Any = pretrained.model.config
        mean, deviation = (getattr(config, name, None) for name in SCALE)
        if mean is not None and deviation is not None:
            if targets.in_units:
                pretrained.model.register_forward_hook(_scaled(float(mean), float(deviation)))
            for name in SCALE:  # of what was learned before, where the model is a base now
                delattr(config, name)
        return pretrained

    def encode_targets(self, rows: Sequence[Any]) -> dict[str, Values]:
        """Return the numbers as `numbers`, (rows,) float64."""
        return {"numbers": torch.tensor(rows, dtype=torch.double)}

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the numbers of some rows, (rows,) float64, as `numbers`."""
        return {"numbers": torch.as_tensor(take(encoded.targets["numbers"], rows))}

    def mixed_targets(
        self, targets: Mapping[str, Values], partners: Sequence[int], shares: torch.Tensor
    ) -> dict[str, Values]:
        """Return the weighted mean of both numbers, from which the squared error has the gradient of both errors."""
        own = torch.as_tensor(targets["numbers"])
        weights = shares.to(own)
        return {"numbers": weights * own + (1 - weights) * own[torch.as_tensor(partners)]}

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the outputs, (rows, 1)."""
        return outputs["logits"]

    def loss(self, pretrained: Pretrained, targets: Numbers, training: Encoded, params: Params) -> Loss:
        """Return the squared error in units of the training numbers' variance."""
        return SquaredError(targets)

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return what the model says, float32, and the rows' numbers."""
        return {SAID: outputs["logits"][:, 0].float(), TRUE: targets["numbers"]}

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[float]]:
        """Return the model's outputs as they are: `export` has put them into the data's units where it could."""
        found: list[list[float]] = answers[SAID][:, None].tolist()
        return found

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: Numbers) -> Sequence[Cell]:
        """Return the number of a row, in the data's units."""
        return [shown(values[0][0])]

    def translated(self, answers: Tensors, own: Numbers, targets: Numbers) -> Tensors:
        """Return the answers of another model in today's units."""
        said = answers[SAID].double()
        numbers = said if own.in_units else own.mean + own.deviation * said
        return {**answers, SAID: (numbers - targets.mean) / targets.deviation}

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return what the model said, in its units, and the true numbers in the data's, both (rows,) float64."""
        return {SAID: answers[SAID].double(), TRUE: answers[TRUE].double()}

    def scores(self, statistics: Statistics, targets: Numbers) -> Metrics:
        """Compute the correlations, the errors in the data's units, and the loss."""
        return {name: self.score(name, statistics, targets) for name in (*_MEASURES, "loss")}

    def score(self, metric: str, statistics: Statistics, targets: Numbers) -> float | None:
        """Compute one metric: ranks take longer than all the others."""
        true = statistics.units[TRUE]
        if metric == "loss":
            return mean_error(statistics.units[SAID], (true - targets.mean) / targets.deviation, 2)
        return _MEASURES[metric](_in_units(statistics, targets), true)

    def on_one_scale(self, metric: str, statistics: Statistics) -> Statistics | None:
        """Return what the model said standardised for Pearson's correlation, and as ranks for Spearman's."""
        said = statistics.units[SAID]
        scaled = {"pearson": standardised, "spearman": ranks}.get(metric)
        if scaled is None or not bool(torch.isfinite(said).all()):
            return None
        return replace(statistics, units={**statistics.units, SAID: scaled(said)})

    def badness(self, statistics: Statistics, targets: Numbers) -> torch.Tensor:
        """Return by how much each number is missed, in the data's units."""
        true, said = self.number_pairs(statistics, targets)
        return (said - true).abs()

    def number_pairs(self, statistics: Statistics, targets: Numbers) -> Pairs:
        """Return the true and the predicted numbers."""
        return Pairs(statistics.units[TRUE], _in_units(statistics, targets))

    def constant(self, training: Sequence[Any], targets: Numbers) -> Constant:
        """Return the mean of the training rows, from which no other number differs less."""
        return Constant(f"{targets.mean:.6g}", 0.0)

    def reference_answers(self, reference: Reference, constant: Constant, units: Tensors, targets: Numbers) -> Batch:
        """Return the mean; or each row's number, right or as far on the other side of the mean."""
        true = units["numbers"]
        standard = (true - targets.mean) / targets.deviation
        said = {Reference.CONSTANT: torch.zeros_like(true), Reference.RIGHT: standard, Reference.WRONG: -standard}
        return {SAID: said[reference], TRUE: true}

    def truths(self, statistics: Statistics, encoded: Encoded, targets: Numbers) -> Iterable[str]:
        """Return the number of each row."""
        return (f"{number:.6g}" for number in statistics.units[TRUE].tolist())

    def said(self, statistics: Statistics, encoded: Encoded, targets: Numbers) -> Iterable[str]:
        """Return the number that is predicted for each row, in the data's units."""
        return (f"{number:.6g}" for number in _in_units(statistics, targets).tolist())

    def reading(self, pretrained: Pretrained, targets: Numbers, examples: Split, max_length: int) -> Reading:
        """Put the scale into the model's last layer, or else into its configuration and the code on its card."""
        model = pretrained.model
        encoded = self.encode_exactly(pretrained, examples.take(range(1)), max_length)
        batch = {name: values.to(model.device) for name, values in self.collate(encoded, [0]).items()}

        @torch.no_grad()
        def outputs() -> torch.Tensor:
            logits: torch.Tensor = model.eval()(**batch).logits  # type: ignore[no-untyped-call]
            return logits

        if fold_scale(model, targets.mean, targets.deviation, outputs):
            text = "The number is in the units of the training data. `function_to_apply='none'` leaves it as it is."
            return Reading("measure", "none", "{answer}[0]['score']", (text,))
        config: Any = model.config
        config.target_mean, config.target_deviation = targets.mean, targets.deviation
        shown = "config.target_mean + config.target_deviation * {answer}[0]['score']"
        text = (
            "The model's own output counts deviations from the mean of the training numbers, because its last layer "
            "cannot add a mean; `config.json` holds both."
        )
        return Reading("measure", "none", shown, (text,), setting="config = measure.model.config")


class SquaredError(Loss):
    """The squared error of what a model says in deviations from the mean.

    Args:
        numbers: What is learned.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def weight(self, targets: Tensors) -> float:
        """Return the number of rows."""
        return len(targets["numbers"])

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum of the rows' squared errors, ()."""
        said = outputs["logits"][:, 0].float()
        wanted = (targets["numbers"] - self._numbers.mean) / self._numbers.deviation
        return functional.mse_loss(said, wanted.float().to(said.device, non_blocking=True), reduction="sum")


_MEASURES: Mapping[str, Callable[[torch.Tensor, torch.Tensor], float | None]] = {
    "pearson": pearson,
    "spearman": spearman,
    "mse": lambda said, true: mean_error(said, true, 2),
    "mae": lambda said, true: mean_error(said, true, 1),
    "r2": r2,
}


def _in_units(statistics: Statistics, targets: Numbers) -> torch.Tensor:
    """Return what the model said in the data's units, (rows,) float64."""
    return targets.mean + targets.deviation * statistics.units[SAID]


def _scaled(mean: float, deviation: float) -> Any:
    """Return a hook that puts a model's outputs into the data's units."""

    def scale(module: Any, inputs: Any, result: Mapping[str, torch.Tensor]) -> Any:
        result["logits"] = mean + deviation * result["logits"]  # type: ignore[index]
        return result

    return scale
