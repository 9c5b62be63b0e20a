"""A search space in Optuna's words: a distribution for each dimension that is searched."""

from typing import cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from luthier.studies.dimensions import Range
from luthier.studies.space import Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return hyperparameter -> distribution, for the dimensions of a resolved space that are searched."""
    result: dict[str, BaseDistribution] = {}
    for name, d in space.free().items():
        result[name] = _of_range(d) if isinstance(d, Range) else CategoricalDistribution(d)
    return result


def searched(space: Space) -> dict[str, BaseDistribution]:
    """Return the distributions with more than one value: the others tell a model nothing, and some samplers fail."""
    return {name: d for name, d in distributions(space).items() if not d.single()}


def _of_range(d: Range) -> BaseDistribution:
    high = d.value(d.count - 1) if d.finite else cast(float, d.high)  # Optuna asks that `high` lies on the lattice
    if isinstance(d.low, int):
        return IntDistribution(d.low, int(high), log=d.log, step=int(d.step or 1))
    step = None if d.step is None or d.low == high else float(d.step)
    return FloatDistribution(d.low, high, log=d.log, step=step)
