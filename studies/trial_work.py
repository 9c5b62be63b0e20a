"""The work of a trial: the amounts that its seconds are linear in, which follow from its configuration.

`trial_costs.py` fits seconds to them. A forward and a backward pass take 6 operations for each parameter and token
(Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1), so training is in proportion to the
parameters of the blocks that are trained and to the tokens. It must never import Optuna.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.studies.cost_awareness import COSTLY
from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import Params, Scalar, complete
from luthier.studies.results import Inspection
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

Amounts = npt.NDArray[np.float64]
FIXED, EPOCH, STEP, OPTIMIZER, PREFIX, BLOCKS = range(6)  # positions; from BLOCKS on one for each model
USUAL_BATCH = 32
USUAL_BLOCKS = 12  # of a model that nobody has opened, where the space does not say how many it may freeze
RELEVANT = ("model", *COSTLY)
INDIFFERENT = frozenset(  # hyperparameters that change nothing in the work for an example
    {"learning_rate", "weight_decay", "epochs", "scheduler", "warmup_ratio", "label_smoothing", "l1", "max_grad_norm"}
    | {"layer_decay", "class_weighting", "dropout", "lora_dropout", "lora_alpha"}
)


class Prefixes:
    """The frozen parts whose outputs trials of a study have computed, on any worker."""

    def __init__(self) -> None:
        """Know of none."""
        self._depths: dict[tuple[Scalar, ...], set[int]] = {}

    def add(self, whole: Mapping[str, Any]) -> None:
        """Note the frozen part of a complete configuration, whose freeze depth is in blocks."""
        self._depths.setdefault(self._inputs(whole), set()).add(int(whole["freeze_depth"]))

    def deepest(self, whole: Mapping[str, Any]) -> int:
        """Return up to which block the outputs that a configuration needs are there; 0 for none."""
        known, depth = self._depths.get(self._inputs(whole), ()), int(whole["freeze_depth"])
        return max((other for other in known if other <= depth), default=0)

    @staticmethod
    def _inputs(whole: Mapping[str, Any]) -> tuple[Scalar, ...]:
        return whole["model"], whole["max_length"]


@dataclass(frozen=True)
class Work:
    """The work of a study's trials: what the amounts of a configuration depend on.

    Attributes:
        blocks: model -> the share of each block, bottom first, in the parameters of all blocks of the largest model.
        length: of the inputs, in the unit of `max_length`; longer ones are hardly any. None: not known.
        defaults: the task's.
        space: resolved.
    """

    blocks: Mapping[str, Sequence[float]]
    length: int | None
    defaults: Params
    space: Space

    def whole(self, params: Mapping[str, Any]) -> Params:
        """Return what the work of a configuration of the space depends on, its freeze depth in blocks.

        `params` may leave out what the space fixes.
        """
        return self.space.assigned({**self._usual, **{name: params[name] for name in RELEVANT if name in params}})

    def baseline(self, model: str) -> Params:
        """Return the baseline of a model in the space, as `whole` does: the inspection measures it."""
        return self.whole(self.space.baseline({**self.defaults, "model": model}))

    @cached_property
    def _usual(self) -> Params:
        """What a configuration has of it where none of it is searched."""
        fixed = {name: d for name, d in self.space.items() if not isinstance(d, Range | tuple)}
        usual = complete({}, {"model": next(iter(self.blocks)), **self.defaults}) | fixed
        return {name: usual[name] for name in RELEVANT}

    def amounts(self, whole: Mapping[str, Any], epochs: float | None = None, cached: int | None = None) -> Amounts:
        """Return the amounts of a trial's work.

        Args:
            whole: its configuration, from `whole`.
            epochs: how many it trains; None: all of the configuration's.
            cached: blocks whose outputs are there already; None: all frozen ones.
        """
        names = list(self.blocks)
        model = str(whole["model"])
        shares = self.blocks[model]
        depth = min(int(whole["freeze_depth"]), len(shares))
        passes = float(whole["epochs"] if epochs is None else epochs)
        length = 1.0
        if self.length:
            length = min(float(whole["max_length"]), self.length) / self.length
        trained, steps = sum(shares[depth:]), passes * USUAL_BATCH / float(whole["batch_size"])
        amounts = np.zeros(BLOCKS + len(names))
        amounts[[FIXED, EPOCH, STEP]] = 1.0, passes, steps
        amounts[OPTIMIZER] = 0.0 if whole.get("strategy") == "lora" else steps * trained
        amounts[PREFIX] = 0.0 if cached is None else length * sum(shares[cached:depth])
        amounts[BLOCKS + names.index(model)] = passes * length * trained
        return amounts


def work_of(spec: StudySpec, space: Space, inspection: Inspection | None = None) -> Work:
    """Return the work of a study's trials.

    Args:
        spec: the study's; not that of an external study, of whose work nothing is known.
        space: its space, resolved.
        inspection: None: blocks are taken for equal, and as many as the space may freeze.
    """
    if inspection is not None and all(inspection.depths):
        sizes = [[float(block.parameters) for block in model.blocks] for model in inspection.models]
    else:
        deepest = int(space.largest("freeze_depth")) if len(spec.models) == 1 else 0
        sizes = [[1.0] * (deepest or USUAL_BLOCKS) for _ in spec.models]
    largest = max(sum(blocks) for blocks in sizes) or 1.0
    blocks = {name: [size / largest for size in each] for name, each in zip(spec.models, sizes, strict=True)}
    length = None if inspection is None else inspection.max_length
    return Work(blocks, length, spec.task_info.baseline, space)
