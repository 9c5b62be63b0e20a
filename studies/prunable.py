"""How many trials of a study its pruner can end early, by the rules of the pruners in `search/pruners.py`.

A bound: no scores make a pruner end more trials, and some scores make it end so many (but for hyperband, where a small
space has trials of several lengths). `spec.py` and `search/feasibility.py` ask for it, the plan shows it. It must never
import Optuna; a test compares it with what Optuna's pruners do.
"""

import math
from binascii import crc32
from collections.abc import Mapping
from dataclasses import dataclass, replace

from luthier.studies.dimensions import Range, nearest
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.space import Space
from luthier.studies.strategy import HYPERBAND_FACTOR, PATIENCE, QUORUM, SMALLEST_RESOURCE, Pruner

_EPOCHS = "epochs"


@dataclass(frozen=True)
class Trials:
    """The trials that a study can have.

    Attributes:
        name: of the study, by which Hyperband assigns trials to brackets; None where it is not known yet.
        count: how many there can be; infinite without a limit.
        configurations: number of evaluations -> how many configurations have trials of that length.
        baseline: the number of evaluations of trial 0, which is never ended early.
    """

    name: str | None
    count: float
    configurations: Mapping[int, float]
    baseline: int

    @property
    def longest(self) -> int:
        """The number of evaluations of the longest trial."""
        return max(self.configurations)

    def at_least(self, evaluations: int) -> float:
        """Return the number of configurations whose trials have so many evaluations or more."""
        return sum(number for length, number in self.configurations.items() if length >= evaluations)


def trials_of(name: str | None, budget: int | None, space: Space, defaults: Params, per_epoch: int) -> Trials:
    """Return the trials that a study can have; trials that users add with a seed of their own are left out.

    Args:
        name: of the study; None where it is not known yet.
        budget: the most trials; None for no limit.
        space: its space. Where it is not resolved, or continuous, it has any number of configurations.
        defaults: the task's baseline.
        per_epoch: evaluations per epoch.
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
    return Trials(name, min(math.inf if budget is None else budget, size), configurations, int(first) * per_epoch)


def trials_of_length(name: str | None, budget: int | None, space: Space, longest: int) -> Trials:
    """Return the trials that a study can have whose trials all have `longest` evaluations; see `trials_of`."""
    size = float(space.size() or math.inf)
    return Trials(name, min(math.inf if budget is None else budget, size), {longest: size}, longest)


def prunable_trials(pruner: Pruner, trials: Trials) -> int | None:
    """Return how many of the trials the pruner can end early, at most; None where their number has no limit."""
    if pruner.name == "none":
        return 0
    if pruner.name == "halving":
        bound = _of_bracket(trials, SMALLEST_RESOURCE, trials.count)
    elif pruner.name == "asha":
        bound = _of_rungs(trials)
    elif pruner.name == "hyperband":
        bound = _of_hyperband(pruner, trials)
    else:
        bound = _of_comparison(trials, first_decision(pruner), _quorum(pruner))
    return None if math.isinf(bound) else max(0, int(bound))


def first_decision(pruner: Pruner) -> int:
    """Return the first evaluation, from 1, after which the pruner may end a trial."""
    if pruner.name in ("halving", "hyperband", "asha"):
        return SMALLEST_RESOURCE
    after_warmup = (pruner.warmup_steps or 0) + 1
    if pruner.name != "patient":
        return after_warmup
    # One evaluation sets the score, `patience` may be no better than it, the next one is one too many.
    return max(after_warmup, patience_of(pruner) + 2)


def patience_of(pruner: Pruner) -> int:
    """Return how many evaluations without improvement a `patient` pruner tolerates."""
    return PATIENCE if pruner.patience is None else pruner.patience


def why_none(pruner: Pruner, trials: Trials) -> tuple[tuple[str, ...], str]:
    """Return why the pruner can end no trial early: the path in the spec, and a sentence with the cure.

    Args:
        pruner: a pruner other than `none`.
        trials: the study's trials, of which `prunable_trials` is 0.
    """
    if trials.longest <= first_decision(pruner):
        return _too_short(pruner, trials.longest)
    count, key, cures = int(trials.count), "name", []
    if pruner.name in ("halving", "hyperband", "asha"):
        needs = "it compares a trial with earlier ones" + (" of its bracket" if pruner.name == "hyperband" else "")
    else:
        needs = f"it compares a trial with {_quorum(pruner)} complete ones, of which one is as long"
        if pruner.startup_trials is not None and 1 < count <= _quorum(pruner):
            key, cures = "startup_trials", [f"set startup_trials to at most {count - 1}"]
    enough = next(
        (n for n in range(count + 1, count + 1_000) if prunable_trials(pruner, replace(trials, count=n))), None
    )
    if enough is None or count == trials.at_least(0):
        cures.append("widen the space")
    else:
        cures.append(f"set budget.trials to at least {enough}")
    text = f"{pruner.name} can end no trial early: {needs}, and the study can have {count}"
    return ("pruner", key), f"{text}; {', '.join(cures)}, or take the pruner none"


def _too_short(pruner: Pruner, longest: int) -> tuple[tuple[str, ...], str]:
    """Return what `why_none` does, where the longest trial has too few evaluations."""
    first = first_decision(pruner)
    text = f"{pruner.name} can end no trial early: it decides from evaluation {first} on, and the longest trial has "
    text += f"{longest}, the last of which is too late; "
    key, cure = "name", ""
    if pruner.name == "patient" and pruner.patience is not None and patience_of(pruner) + 2 == first:
        key, most = "patience", longest - 3
    else:
        key, most = "warmup_steps" if pruner.warmup_steps else "name", longest - 2
    if key != "name" and most >= 0:
        cure = f"set {key} to at most {most}, "
    return ("pruner", key), f"{text}{cure}raise space.epochs or evaluations_per_epoch, or take the pruner none"


def _quorum(pruner: Pruner) -> int:
    """Return how many complete trials a comparison with their median or percentile needs."""
    return max(1, QUORUM if pruner.startup_trials is None else pruner.startup_trials)


def _of_comparison(trials: Trials, first: int, quorum: int) -> float:
    """Return how many trials a comparison with complete trials can end at evaluation `first`, at most.

    The quorum trains to its end, and with it at least one trial that has reached `first`. The baseline does so too.
    """
    able, reaching = trials.at_least(first + 1), trials.at_least(first)
    whole = max(quorum, 1 if trials.baseline >= first else 2)
    spared = trials.baseline > first or able == reaching
    return max(0.0, min(trials.count - whole, able - spared))


def _of_rungs(trials: Trials) -> float:
    """Return how many trials ASHA can leave paused, at most: all that are no longer than its first rung train on.

    The baseline does, too, and may be the best of all; else the best one goes on to its end.
    """
    spared = trials.baseline > SMALLEST_RESOURCE
    return max(0.0, min(trials.count - 1, trials.at_least(SMALLEST_RESOURCE + 1) - spared))


def _of_hyperband(pruner: Pruner, trials: Trials) -> float:
    """Return how many trials Hyperband can end, at most: each bracket halves its own, from its own evaluation on.

    Brackets are those of Optuna's HyperbandPruner: their number and shares, and a trial's by the checksum of its name.
    """
    all_in_one = _of_bracket(trials, SMALLEST_RESOURCE, trials.count)
    if trials.name is None or math.isinf(trials.count):
        return all_in_one
    factor = pruner.reduction_factor or HYPERBAND_FACTOR
    brackets = math.floor(math.log(trials.longest / SMALLEST_RESOURCE, factor)) + 1
    shares = [math.ceil(brackets * factor ** (brackets - 1 - b) / (brackets - b)) for b in range(brackets)]
    of_place = [bracket for bracket, share in enumerate(shares) for _ in range(share)]
    members = [0] * brackets
    own = [of_place[crc32(f"{trials.name}_{n}".encode()) % len(of_place)] for n in range(int(trials.count))]
    for bracket in own:
        members[bracket] += 1
    bound = 0.0
    for bracket, number in enumerate(members):
        bound += _of_bracket(trials, SMALLEST_RESOURCE * factor**bracket, number, has_baseline=own[0] == bracket)
    return min(bound, all_in_one)


def _of_bracket(trials: Trials, first: int, number: float, has_baseline: bool = True) -> float:
    """Return how many trials of a bracket can be ended, at most, when its first rung is at evaluation `first`.

    The first trial that reaches the highest rung has no rival there, and trains to its end. The baseline does, too.
    """
    able, reaching = trials.at_least(first + 1), trials.at_least(first)
    is_first = has_baseline and trials.baseline >= first
    whole = has_baseline + (not is_first)
    spared = (has_baseline and trials.baseline > first) or (not is_first and able == reaching)
    return max(0.0, min(number - whole, able - spared))
