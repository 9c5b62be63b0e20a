"""How much of its learning-rate schedule a trial has behind it, and which trials that makes comparable.

At equal data seen, a trial of one epoch is at the end of its schedule, with small steps that settle its score, and one
of six epochs has most of its large steps before it. So scores at an evaluation do not tell which configuration is the
better one. `search/pruning.py` and `prunable.py` go by what is said here. It must never import Optuna.
"""

from collections.abc import Iterable

from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.space import Space

SCHEDULED = ("epochs", "scheduler")  # the hyperparameters that say it
STEADY = frozenset({"constant", "constant_with_warmup", "inverse_sqrt"})
"""Schedulers whose rate does not depend on where the trial will end."""
WAVES = frozenset({"one_cycle", "cosine_with_restarts"})
"""Schedulers whose rate rises again: that less of them is left does not mean a lower rate."""


def is_comparable(own: Params, other: Params, step: int, per_epoch: int) -> bool:
    """Return whether a trial may be judged by another one's score at the same evaluation.

    It may where the other's rate has fallen no further: then the other's score is no better than it would be at the
    trial's own share, and a trial that is worse is worse indeed. Of rates that go up and down the shares must be equal.

    Args:
        own: the trial's values of SCHEDULED, and perhaps others.
        other: the other's.
        step: the evaluation, from 1.
        per_epoch: evaluations per epoch.
    """
    mine, others = _share(own, step, per_epoch), _share(other, step, per_epoch)
    if {own["scheduler"], other["scheduler"]} & WAVES:
        return mine == others
    return others <= mine


def _share(params: Params, step: int, per_epoch: int) -> float:
    """Return the share of a trial's schedule that lies behind it, from 0 to 1; 0 where its rate does not fall."""
    return 0.0 if params["scheduler"] in STEADY else step / (int(params["epochs"]) * per_epoch)


def has_steady(space: Space, defaults: Params) -> bool:
    """Return whether trials of a space may have a steady rate, so that their lengths do not matter for others."""
    return any(choice in STEADY for choice in _choices(space, defaults))


def _choices(space: Space, defaults: Params) -> Iterable[object]:
    d = space["scheduler"] if "scheduler" in space else complete({}, defaults)["scheduler"]
    return d if isinstance(d, tuple) else () if isinstance(d, Range) else (d,)
