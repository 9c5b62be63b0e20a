"""Whether a spec's sampler can draw and its pruner can end a trial: asked before a study is created.

It is never asked of stored specs. A lattice that is finer than floats can tell, say, makes Optuna refuse values that it
has drawn itself.
"""

import math

from optuna.storages import InMemoryStorage
from optuna.trial import create_trial
from pydantic import ValidationError

from luthier.studies.budget import gain_problems, patience_problems
from luthier.studies.dimensions import Range
from luthier.studies.documents import Path
from luthier.studies.protocol import TrialState
from luthier.studies.prunable import prunable_trials, why_none
from luthier.studies.search.distributions import distributions
from luthier.studies.search.search import Search
from luthier.studies.semantics import IDLE_PRUNER_REFUSED
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

FINEST_STEP = 1e-6
"""Of the larger end: Optuna takes a value for one of the lattice where it is less than 1e-8 of a step away from it, and
values have 15 digits. A Gaussian process lists all values in memory, too."""
MOST_CHOICES = 1_000
"""Optuna stores all choices of a hyperparameter with each trial, and reads them with each."""
LENGTH = 512  # of the longest inputs, which nobody has measured yet
BLOCKS = (12, 10_000)  # of the model, which nobody has opened yet; the latter is the deepest that a spec may freeze
DRAWS = 3  # the baseline, one that a model cannot know anything for, and one after two scores


def search_problems(spec: StudySpec) -> list[tuple[Path, str]]:
    """Return what keeps the sampler from drawing, the pruner from pruning, a limit from ending, each with its path.

    Takes some milliseconds.
    """
    return [*_idle_pruner(spec), *_endless(spec), *_drawing_problems(spec)]


def _endless(spec: StudySpec) -> list[tuple[Path, str]]:
    """Return that a small space has too few configurations for a limit of the budget to end its study, if so."""
    budget, size = spec.budget, spec.possible_trials().count
    if size in (math.inf, budget.trials):
        return []
    problems = [] if budget.expected_gain is None else gain_problems(int(size), "widen the space")
    return problems + (
        [] if budget.patience is None else patience_problems(budget.patience, int(size), "widen the space")
    )


def _idle_pruner(spec: StudySpec) -> list[tuple[Path, str]]:
    """Return why the spec's pruner can end no trial, if so.

    Schedules of older semantics keep theirs, and old trials may let it prune. A study of the baseline alone is a
    try-out of a spec, whatever its pruner.
    """
    trials = spec.possible_trials()
    if spec.pruner.name == "none" or spec.semantics < IDLE_PRUNER_REFUSED or trials.count <= 1 or spec.origin:
        return []
    return [] if prunable_trials(spec.pruner, trials) != 0 else [why_none(spec.pruner, trials)]


def _drawing_problems(spec: StudySpec) -> list[tuple[Path, str]]:
    problems: list[tuple[Path, str]] = []
    for name, d in _resolved(spec).free().items():
        if isinstance(d, tuple) and len(d) > MOST_CHOICES:
            problems.append((("space", name), f"must list at most {MOST_CHOICES} choices; give a range for more"))
        elif isinstance(d, Range) and isinstance(d.low, float) and d.step is not None and d.low != d.high:
            text = _lattice_problem(d, d.step)
            problems += [(("space", name, "step"), text)] if text else []
    if not problems:
        try:
            _draw(spec)
        except Exception as error:
            words = " ".join(str(error).split())[:300]
            text = f"the sampler {spec.sampler.name} cannot draw from it ({type(error).__name__}: {words})"
            problems.append((("space",), text))
    return problems


def _lattice_problem(d: Range, step: float) -> str | None:
    """Return why Optuna cannot hold the lattice of a resolved range of floats, or None."""
    finest = FINEST_STEP * max(abs(d.low), abs(float(d.high)))
    if step < finest:
        return f"must be at least {finest:g}, a millionth of the larger end; leave it out for any value between"
    last = d.value(d.count - 1)
    try:
        (held,) = distributions(Space.model_construct({"x": d})).values()
        create_trial(value=0.0, params={"x": last}, distributions={"x": held})
    except (ValueError, UserWarning):
        return f"low and step have more digits than floats can hold: Optuna refuses {last}; round both to nine digits"
    return None


def _draw(spec: StudySpec) -> None:
    """Draw some trials in memory. TPE and CMA-ES use their model at once, a Gaussian process would take seconds."""
    if spec.sampler.name in ("tpe", "cmaes"):
        sampler = spec.sampler.model_copy(update={"startup_trials": 1})
        spec = spec.model_copy(update={"sampler": sampler})
    search = Search(InMemoryStorage(), spec, _resolved(spec))
    for number in range(DRAWS):
        if search.ask(number) is None:
            return
        search.tell(number, TrialState.COMPLETE, number / DRAWS, None)


def _resolved(spec: StudySpec) -> Space:
    models = len(spec.model) if isinstance(spec.model, tuple) else 1
    few, most = BLOCKS
    try:
        return spec.space.resolved(*[few] * models, length=LENGTH)
    except ValidationError:  # it freezes more than that
        return spec.space.resolved(*[most] * models, length=LENGTH)
