"""A study of Optuna that somebody has run without Luthier, for tests."""

from typing import Any

import optuna


def optuna_study(storage: Any) -> None:
    """Run a study of somebody's own."""

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
        trial.suggest_categorical("batch_size", [8, 16])
        trial.suggest_int("layers", 1, 4)
        if trial.number == 2:
            raise optuna.TrialPruned
        return rate

    study = optuna.create_study(study_name="mine", storage=storage, direction="maximize")
    study.set_metric_names(["val_accuracy"])
    study.optimize(objective, n_trials=4)
