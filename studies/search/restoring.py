"""Restoring of a study's trials in Optuna from the service's rows, which have them all.

A database that loses its last transactions, a backup that is restored, or a hand that deletes rows can leave Optuna
with fewer trials than the service. `Search.restore` writes what is missing; nothing that Optuna has right is changed.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.cost_aware import SECONDS, seconds_noted
from luthier.studies.search.distributions import distributions
from luthier.studies.search.drawing import CONSTRAINT, is_infeasible
from luthier.studies.search.pruners import make_pruner
from luthier.studies.search.storage_view import StorageView
from luthier.studies.search.study_trials import StudyTrials
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec

PRUNED_AT = "luthier:pruned_at"  # a trial's system attribute: the step at which it was told to end
OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.CANCELLED: OptunaState.FAIL,
}


@dataclass(frozen=True)
class KnownTrial:
    """A trial as the service's rows have it.

    Attributes:
        number: its number.
        params: a value for each dimension of the space.
        state: its state.
        value: its score; None without one.
        reason: why it ended, if not by running to its end.
        scores: evaluation -> score of the objective, where that is finite.
        started_at: seconds since the epoch; None before its first attempt.
        finished_at: seconds since the epoch; None before its end.
        forgotten: a user deleted it; how it ended in Optuna is of no matter.
        seconds: that workers were busy with it; None: that tells nothing of its configuration.
    """

    number: int
    params: Params
    state: TrialState
    value: float | None
    reason: Reason | None
    scores: Mapping[int, float]
    started_at: float | None
    finished_at: float | None
    forgotten: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class End:
    """The end of a trial as Optuna stores it: state, values, and system attributes."""

    state: OptunaState
    values: list[float] | None
    notes: dict[str, Any]


def end_of(
    trial: FrozenTrial, state: TrialState, value: float | None, reason: Reason | None, seconds: float | None = None
) -> End:
    """Return how a trial's end is stored, after the evaluations that `trial` has.

    Samplers learn from a trial that ran out of memory or diverged: it counts as pruned, and is marked infeasible.
    Other failures say nothing about the configuration, and samplers never see them.

    Raises:
        ValueError: For a complete trial without a finite value, or a state that is no end.
    """
    if state not in OPTUNA_STATES:
        raise ValueError(f"trial {trial.number} cannot be told as {state}; it has not ended")
    infeasible = (state, reason) in ((TrialState.FAILED, Reason.OOM), (TrialState.PRUNED, Reason.DIVERGED))
    values: list[float] | None = None
    if state == TrialState.COMPLETE:
        if value is None or not math.isfinite(value):
            raise ValueError(f"trial {trial.number} is complete, so it needs a finite value, not {value}")
        values = [value]
    end = OptunaState.PRUNED if infeasible else OPTUNA_STATES[state]
    if end == OptunaState.PRUNED and trial.last_step is not None:
        values = [trial.intermediate_values[trial.last_step]]
    notes = {f"{CONSTRAINT}{reason}": 1.0} if infeasible and not is_infeasible(trial) else {}
    return End(end, values, notes if seconds is None else {**notes, SECONDS: seconds})


def restore(
    trials: StudyTrials,
    view: Callable[[list[FrozenTrial]], StorageView],
    spec: StudySpec,
    space: Space,
    known: Sequence[KnownTrial],
    keep: Callable[[], None],
    anew: bool = False,
) -> None:
    """Write what Optuna lacks: at the end of its trials, or all anew where one before its last is missing or wrong.

    Optuna counts trials to number them, so one in the middle cannot be written alone. A crash on the way leaves the
    first trials, after which the rest is written next time.

    Args:
        trials: The study's trials in Optuna.
        view: Makes the view of trials that a pruner decides by.
        spec: The study's spec.
        space: Its space, resolved.
        known: The service's trials, by number.
        keep: Called before each write; it raises where the caller may not write any more.
        anew: Some trials have wrong numbers in Optuna: write all anew.
    """
    stored = trials.stored()
    by_number = {trial.number: trial for trial in stored}
    wanted: list[FrozenTrial] = []
    for ours in known:
        if ours.number != len(wanted):
            break
        made = _as_optuna(ours, spec, space)
        found = by_number.get(ours.number)
        if found is None or not _agree(found, made, ours.forgotten):
            made.system_attrs = {**_rungs(made, view, spec, wanted), **made.system_attrs}
            found = made
        wanted.append(found)
    written = len(stored)
    if anew or not trials.is_dense() or any(a is not b for a, b in zip(stored, wanted, strict=False)):
        keep()
        trials.start_over()
        written = 0
    for trial in wanted[written:]:
        keep()
        trials.append(trial)


def _agree(found: FrozenTrial, made: FrozenTrial, forgotten: bool) -> bool:
    """Return whether Optuna's trial is the service's, told of its end or not yet."""
    same_end = forgotten or not found.state.is_finished() or (found.state, found.values) == (made.state, made.values)
    return found.params == made.params and same_end


def _as_optuna(ours: KnownTrial, spec: StudySpec, space: Space) -> FrozenTrial:
    trial = create_trial(
        state=OptunaState.RUNNING,
        params={name: ours.params[name] for name in space.free()},
        distributions=distributions(space),
        intermediate_values=dict(ours.scores),
    )
    trial.number = ours.number
    trial.datetime_start = None if ours.started_at is None else datetime.fromtimestamp(ours.started_at)
    if ours.state not in OPTUNA_STATES:
        return trial
    end = end_of(trial, ours.state, ours.value, ours.reason, seconds_noted(spec, ours.seconds))
    told = {PRUNED_AT: trial.last_step} if ours.state == TrialState.PRUNED and ours.reason is None else {}
    trial.state, trial.values, trial.system_attrs = end.state, end.values, end.notes | told
    trial.datetime_complete = None if ours.finished_at is None else datetime.fromtimestamp(ours.finished_at)
    return trial


def _rungs(
    trial: FrozenTrial, view: Callable[[list[FrozenTrial]], StorageView], spec: StudySpec, before: list[FrozenTrial]
) -> dict[str, Any]:
    """Return the notes that a pruner leaves in a trial, by which it decides on others: the rungs that it reached."""
    if spec.pruner.name not in ("hyperband", "halving"):
        return {}
    notes: dict[str, Any] = {}
    shown = copy.copy(trial)
    for step in sorted(trial.intermediate_values):
        shown.intermediate_values = {s: v for s, v in trial.intermediate_values.items() if s <= step}
        shown.system_attrs = trial.system_attrs | notes
        seen = view([*before, shown])
        make_pruner(spec).prune(seen.study(spec.name), shown)
        notes |= seen.notes
    return notes
