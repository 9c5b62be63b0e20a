"""Whether a trial ends at an evaluation, pruned: by the spec's pruner, which some trials are spared from.

`search.py` asks at each report. Optuna's pruners decide among the trials that they are shown; here those are shown that
the trial can be compared with (`schedule_shares.py`), and a decision by too few of them is none.
"""

from optuna.trial import FrozenTrial, TrialState

from luthier.studies.hyperparameters import PROBE, Params, complete
from luthier.studies.prunable import brackets_of
from luthier.studies.schedule_shares import SCHEDULED, is_comparable
from luthier.studies.search.pruners import make_pruner
from luthier.studies.search.storage_view import StorageView
from luthier.studies.semantics import COMPARED_BY_SHARE
from luthier.studies.spec import StudySpec
from luthier.studies.strategy import LEAST_VALUES, PRUNER_OPTIONS, QUORUM

OWN_SEED = "luthier:seed"  # a trial's system attribute: the seed that a user gave with its configuration


def is_pruned(spec: StudySpec, view: StorageView, trial: FrozenTrial, params: Params, step: int) -> bool:
    """Return whether a trial ends after an evaluation, whose score it has.

    Never pruned are the baseline, to which the winner is compared, a trial with a seed of the user's, who asks for its
    score, and a trial at its last evaluation, as nothing would be saved. The pruner is asked about these too: it leaves
    the results of rungs in the view, by which it judges other trials.

    Args:
        spec: The study's.
        view: Its trials, and what the pruner notes of this one.
        trial: With the score.
        params: The trial's configuration.
        step: The evaluation, from 1.
    """
    if spec.semantics < COMPARED_BY_SHARE:
        prune = bool(make_pruner(spec).prune(view.study(spec.name), trial))
    else:
        prune = _is_worse(spec, view, trial, params, step)
    return prune and not (trial.number == 0 or OWN_SEED in trial.system_attrs or _is_last(spec, trial, params, step))


def _is_worse(spec: StudySpec, view: StorageView, trial: FrozenTrial, params: Params, step: int) -> bool:
    """Return what the pruner says of a trial among those it can be compared with; False where these are too few."""
    others = [other for other in view.trials if other.number != trial.number]
    fair = others if spec.is_external else _fair(spec, params, others, step)  # those of others end at one step
    prune = bool(make_pruner(spec).prune(view.among(fair).study(spec.name), trial))
    if "startup_trials" in PRUNER_OPTIONS[spec.pruner.name]:
        startup = QUORUM if spec.pruner.startup_trials is None else spec.pruner.startup_trials
        return prune and sum(other.state == TrialState.COMPLETE for other in others) >= startup
    return prune and len(_rivals(spec, view, trial, fair)) >= LEAST_VALUES


def _fair(spec: StudySpec, params: Params, others: list[FrozenTrial], step: int) -> list[FrozenTrial]:
    """Return the trials by whose scores at an evaluation a trial with these parameters may be judged."""
    own, per_epoch = complete(params, spec.task_info.baseline), spec.evaluations_per_epoch
    fair = []
    for other in others:
        theirs = {name: other.params.get(name, own[name]) for name in SCHEDULED}  # fixed values are the same in all
        if is_comparable(own, theirs, step, per_epoch):
            fair.append(other)
    return fair


def _rivals(spec: StudySpec, view: StorageView, trial: FrozenTrial, fair: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials whose results of this rung the pruner has: it notes the same of each, a bracket apart."""
    rivals = [other for other in fair if view.notes.keys() & other.system_attrs.keys()]
    if spec.pruner.name != "hyperband":
        return rivals
    bracket = brackets_of(spec.name, spec.pruner, spec.max_steps)
    return [other for other in rivals if bracket(other.number) == bracket(trial.number)]


def is_probe(params: Params) -> bool:
    """Return whether a configuration's one evaluation is its whole trial, whatever its epochs."""
    return params.get("strategy") == PROBE


def _is_last(spec: StudySpec, trial: FrozenTrial, params: Params, step: int) -> bool:
    """Return whether a trial ends by itself after an evaluation; early stopping may make any the last."""
    if spec.is_external:
        return step >= spec.max_steps
    whole = complete(params, spec.task_info.baseline)
    if step >= int(whole["epochs"]) * spec.evaluations_per_epoch:
        return True
    rule = spec.early_stopping
    return rule is not None and rule.ends(trial.intermediate_values, spec.maximize)
