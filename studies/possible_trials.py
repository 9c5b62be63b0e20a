"""The trials that a study can have: how many, of which lengths, and which of them can be compared.

`spec.py` makes them, and `prunable.py` counts how many of them a pruner can end. It must never import Optuna.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from luthier.studies.dimensions import Range, nearest
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.schedule_shares import has_steady
from luthier.studies.space import Space

_EPOCHS = "epochs"


@dataclass(frozen=True)
class Trials:
    """The trials that a study can have.

    Attributes:
        name: of the study, by which Hyperband assigns trials to brackets; None where it is not known yet.
        count: how many there can be; infinite without a limit.
        configurations: number of evaluations -> how many configurations have trials of that length.
        baseline: the number of evaluations of trial 0, which is never ended early.
        by_share: a trial is compared with three others at least, which have as many evaluations or more
            (`schedule_shares.py`); False: with any, as in older semantics.
        steady: of some trials the learning rate does not fall, so that those of any length are compared with them.
    """

    name: str | None
    count: float
    configurations: Mapping[int, float]
    baseline: int
    by_share: bool = False
    steady: bool = False

    @property
    def longest(self) -> int:
        """The number of evaluations of the longest trial."""
        return max(self.configurations)

    def at_least(self, evaluations: int) -> float:
        """Return the number of configurations whose trials have so many evaluations or more."""
        return sum(number for length, number in self.configurations.items() if length >= evaluations)


def trials_of(
    name: str | None, budget: int | None, space: Space, defaults: Params, per_epoch: int, by_share: bool = False
) -> Trials:
    """Return the trials that a study can have; trials that users add with a seed of their own are left out.

    Args:
        name: of the study; None where it is not known yet.
        budget: the most trials; None for no limit.
        space: its space. Where it is not resolved, or continuous, it has any number of configurations.
        defaults: the task's baseline.
        per_epoch: evaluations per epoch.
        by_share: as the semantics say.
    """
    try:
        size = float(space.size() or math.inf)
    except (KeyError, ValueError, OverflowError):  # the depth of the models is not known yet, or there are too many
        size = math.inf
    d = space[_EPOCHS] if _EPOCHS in space else complete({}, defaults)[_EPOCHS]
    epochs = d.values() if isinstance(d, Range) else d if isinstance(d, tuple) else (d,)
    each = size / len(epochs)
    first = nearest(d, complete({}, defaults)[_EPOCHS])
    configurations = {int(count) * per_epoch: each for count in epochs}
    count = min(math.inf if budget is None else budget, size)
    steady = has_steady(space, defaults)
    return Trials(name, count, configurations, int(first) * per_epoch, by_share, steady)


def trials_of_length(
    name: str | None, budget: int | None, space: Space, longest: int, by_share: bool = False
) -> Trials:
    """Return the trials that a study can have whose trials all have `longest` evaluations; see `trials_of`."""
    size = float(space.size() or math.inf)
    return Trials(name, min(math.inf if budget is None else budget, size), {longest: size}, longest, by_share)
