"""Optuna alone in a replay: its samplers and pruners at their defaults, on the same table."""

from typing import Any

import optuna
from curve_tasks import SPACE
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from replay_clock import CONTINUE, Job
from replay_table import Case, Table

METHODS = ("random", "tpe+median", "tpe+hyperband")


def distributions(table: Table) -> dict[str, BaseDistribution]:
    """Return the space as Optuna has it."""
    rate, decay, epochs = SPACE["learning_rate"], SPACE["weight_decay"], SPACE["epochs"]
    return {
        "learning_rate": FloatDistribution(rate["low"], rate["high"], log=True),
        "batch_size": CategoricalDistribution(SPACE["batch_size"]),
        "epochs": IntDistribution(epochs["low"], epochs["high"]),
        "weight_decay": FloatDistribution(decay["low"], decay["high"]),
        "freeze_depth": IntDistribution(0, table.depth),
    }


class OptunaSide:
    """A study of Optuna in memory, asked and told by the workers.

    Args:
        case: What is searched.
        method: One of `METHODS`.
    """

    def __init__(self, case: Case, method: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler_name, _, pruner_name = method.partition("+")
        pruners: dict[str, optuna.pruners.BasePruner] = {
            "": optuna.pruners.NopPruner(),
            "median": optuna.pruners.MedianPruner(),
            "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=case.table.most_steps),
        }
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=case.seed)
        if sampler_name == "tpe":  # constant_liar is what its documentation advises for several workers
            sampler = optuna.samplers.TPESampler(seed=case.seed, constant_liar=case.workers > 1)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruners[pruner_name])
        self._table = case.table
        self._distributions = distributions(case.table)
        self._used: set[int] = set()
        self._best: dict[int, float] = {}

    def claim(self, worker: int, now: float) -> Job:
        """Draw a trial."""
        trial = self._study.ask(self._distributions)
        return Job(self._table.nearest(dict(trial.params), self._used), 0, trial)

    def report(self, job: Job, value: float, now: float) -> str:
        """Report to the trial, and ask whether it is pruned."""
        trial: Any = job.held
        trial.report(value, job.step)
        self._best[trial.number] = max(value, self._best.get(trial.number, value))
        return "prune" if trial.should_prune() else CONTINUE

    def finish(self, job: Job, how: str, now: float) -> None:
        """Tell a trial's best score; a trial that was pruned or diverged has its latest one."""
        if how == "complete":
            self._study.tell(job.held, self._best[job.held.number])
        else:
            self._study.tell(job.held, state=optuna.trial.TrialState.PRUNED)
