"""Whether a trial ends at an evaluation, pruned: by the spec's pruner, which some trials are spared from.

`search.py` asks at each report.
"""

from optuna.study import Study
from optuna.trial import FrozenTrial

from luthier.studies.hyperparameters import PROBE, Params, complete
from luthier.studies.search.pruners import make_pruner
from luthier.studies.spec import StudySpec

OWN_SEED = "luthier:seed"  # a trial's system attribute: the seed that a user gave with its configuration


def is_pruned(spec: StudySpec, study: Study, trial: FrozenTrial, params: Params, step: int) -> bool:
    """Return whether a trial ends after an evaluation, whose score it has.

    Never pruned are the baseline, to which the winner is compared, a trial with a seed of the user's, who asks for its
    score, and a trial at its last evaluation, as nothing would be saved. The pruner is asked about these too: it leaves
    the results of rungs in the study, by which it judges other trials.

    Args:
        spec: The study's.
        study: Its trials as the pruner sees them.
        trial: With the score.
        params: The trial's configuration.
        step: The evaluation, from 1.
    """
    prune = bool(make_pruner(spec).prune(study, trial))
    return prune and not (trial.number == 0 or OWN_SEED in trial.system_attrs or _is_last(spec, trial, params, step))


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
