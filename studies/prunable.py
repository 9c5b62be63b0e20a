"""How many trials of a study its pruner can end early, by the rules of the pruners in `search/pruners.py`.

A bound: no scores make a pruner end more trials, and some scores make it end so many (but for hyperband, where a small
space has trials of several lengths). `spec.py` and `search/feasibility.py` ask for it, the plan shows it. It must never
import Optuna; a test compares it with what Optuna's pruners do.
"""

import math
from binascii import crc32
from collections.abc import Callable
from dataclasses import replace

from luthier.studies.possible_trials import Trials
from luthier.studies.prunable_by_share import likely_compared, most_by_equals
from luthier.studies.strategy import HYPERBAND_FACTOR, LEAST_VALUES, PATIENCE, QUORUM, SMALLEST_RESOURCE, Pruner


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


def comparison_note(pruner: Pruner, trials: Trials) -> str | None:
    """Return what a plan says of trials that a pruner has too few others for; None where their lengths do not matter.

    Args:
        pruner: the spec's.
        trials: the study's.
    """
    if pruner.name in ("none", "asha") or not trials.by_share or trials.steady or len(trials.configurations) == 1:
        return None
    text = (
        f"{pruner.name} compares a trial with {LEAST_VALUES} others at least, of as many epochs or more: the learning "
    )
    text += "rate of shorter ones has fallen further at the same data"
    if math.isinf(trials.count):
        return f"{text}. Until there are so many, it does not decide."
    likely = sum(
        likely_compared(trials, first, 0 if pruner.name in ("halving", "hyperband") else _quorum(pruner), share)
        for first, share in _brackets_by_first(pruner, trials)
    )
    return f"{text}. About {likely:.0f} of the {int(trials.count)} trials will have them."


def _brackets_by_first(pruner: Pruner, trials: Trials) -> list[tuple[int, float]]:
    """Return for each bracket the evaluation after which it first decides, and its share of the trials."""
    if pruner.name != "hyperband":
        return [(first_decision(pruner), 1.0)]
    factor = pruner.reduction_factor or HYPERBAND_FACTOR
    shares = _shares(_brackets(trials.longest, factor), factor)
    return [(SMALLEST_RESOURCE * factor**bracket, share / sum(shares)) for bracket, share in enumerate(shares)]


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
    if pruner.name not in ("halving", "hyperband", "asha"):
        least = LEAST_VALUES if trials.by_share else 1
        if pruner.startup_trials is not None and least < count <= _quorum(pruner):
            key, cures = "startup_trials", [f"set startup_trials to at most {count - 1}"]
    enough = next(
        (n for n in range(count + 1, count + 1_000) if prunable_trials(pruner, replace(trials, count=n))), None
    )
    if enough is None or count == trials.at_least(0):
        cures.append("widen the space")
    else:
        cures.append(f"set budget.trials to at least {enough}")
    text = f"{pruner.name} can end no trial early: {_needs(pruner, trials)}, and the study can have {count}"
    return ("pruner", key), f"{text}; {', '.join(cures)}, or take the pruner none"


def _needs(pruner: Pruner, trials: Trials) -> str:
    """Return the words that say what a pruner compares a trial with."""
    if pruner.name == "asha":
        return "it compares a trial with earlier ones"
    if pruner.name in ("halving", "hyperband"):
        with_whom = f"{LEAST_VALUES} earlier ones" if trials.by_share else "earlier ones"
        with_whom += " of its bracket" if pruner.name == "hyperband" else ""
        return f"it compares a trial with {with_whom}" + (", which are as long" if trials.by_share else "")
    quorum = _quorum(pruner)
    if not trials.by_share:
        return f"it compares a trial with {quorum} complete ones, of which one is as long"
    return f"it compares a trial with {max(quorum, LEAST_VALUES)} complete ones, of which {LEAST_VALUES} are as long"


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
    if trials.by_share:
        return most_by_equals(trials, first, trials.count, quorum)
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


def brackets_of(name: str, pruner: Pruner, longest: int) -> Callable[[int], int]:
    """Return which bracket of Hyperband a trial is in, by its number.

    Brackets are those of Optuna's HyperbandPruner: their number and shares, and a trial's by the checksum of its name.

    Args:
        name: the study's.
        pruner: its pruner.
        longest: evaluations of the longest trial.
    """
    factor = pruner.reduction_factor or HYPERBAND_FACTOR
    brackets = _brackets(longest, factor)
    of_place = [bracket for bracket, share in enumerate(_shares(brackets, factor)) for _ in range(share)]
    return lambda number: of_place[crc32(f"{name}_{number}".encode()) % len(of_place)]


def _brackets(longest: int, factor: int) -> int:
    return math.floor(math.log(longest / SMALLEST_RESOURCE, factor)) + 1


def _shares(brackets: int, factor: int) -> list[int]:
    return [math.ceil(brackets * factor ** (brackets - 1 - b) / (brackets - b)) for b in range(brackets)]


def _of_hyperband(pruner: Pruner, trials: Trials) -> float:
    """Return how many trials Hyperband can end, at most: each bracket halves its own, from its own evaluation on."""
    all_in_one = _of_bracket(trials, SMALLEST_RESOURCE, trials.count)
    if trials.name is None or math.isinf(trials.count):
        return all_in_one
    factor = pruner.reduction_factor or HYPERBAND_FACTOR
    brackets = _brackets(trials.longest, factor)
    bracket = brackets_of(trials.name, pruner, trials.longest)
    members = [0] * brackets
    own = [bracket(n) for n in range(int(trials.count))]
    for of_trial in own:
        members[of_trial] += 1
    bound = 0.0
    for place, number in enumerate(members):
        bound += _of_bracket(trials, SMALLEST_RESOURCE * factor**place, number, has_baseline=own[0] == place)
    return min(bound, all_in_one)


def _of_bracket(trials: Trials, first: int, number: float, has_baseline: bool = True) -> float:
    """Return how many trials of a bracket can be ended, at most, when its first rung is at evaluation `first`.

    The first trial that reaches the highest rung has no rival there, and trains to its end. The baseline does, too.
    """
    if trials.by_share:
        return most_by_equals(trials, first, number, 0, has_baseline)
    able, reaching = trials.at_least(first + 1), trials.at_least(first)
    is_first = has_baseline and trials.baseline >= first
    whole = has_baseline + (not is_first)
    spared = (has_baseline and trials.baseline > first) or (not is_first and able == reaching)
    return max(0.0, min(number - whole, able - spared))
