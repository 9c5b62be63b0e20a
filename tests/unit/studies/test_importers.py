"""Searches of other tools: what has an equal here is converted, all else is named by its path."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from luthier.studies.importers.documents import is_storage, read_foreign
from luthier.studies.search.foreign_storage import read_storage
from tests.support.optuna_study import optuna_study

SWEEP = """
program: train.py
method: bayes
name: my sweep
metric: {name: eval/accuracy, goal: maximize, target: 0.95}
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1e-3}
  lr_in_exponents: {distribution: log_uniform, min: -13.8, max: -6.9}
  per_device_train_batch_size: {values: [8, 16, 32]}
  num_train_epochs: {distribution: int_uniform, min: 1, max: 4}
  weight_decay: {min: 0.0, max: 0.3}
  optimizer: {values: [adamw_torch, sgd, lion]}
  hidden_units: {values: [64, 128]}
  model_name_or_path: {value: models/minilm}
  seed: {value: 7}
  nested: {parameters: {warmup_ratio: {value: 0.1}}}
early_terminate: {type: hyperband, eta: 3, min_iter: 2}
run_cap: 20
command: ["${env}", python, "${program}"]
"""
KATIB = """
apiVersion: kubeflow.org/v1beta1
kind: Experiment
metadata: {name: tpe-experiment}
spec:
  objective: {type: minimize, goal: 0.1, objectiveMetricName: val_loss, additionalMetricNames: [x]}
  algorithm: {algorithmName: tpe, algorithmSettings: [{name: random_state, value: "3"}, {name: gamma, value: "2"}]}
  earlyStopping:
    algorithmName: medianstop
    algorithmSettings: [{name: min_trials_required, value: "4"}, {name: start_step, value: "2"}]
  parallelTrialCount: 3
  maxTrialCount: 12
  maxFailedTrialCount: 3
  parameters:
  - {name: lr, parameterType: double, feasibleSpace: {min: "0.00001", max: "0.001", distribution: logUniform}}
  - {name: batch-size, parameterType: discrete, feasibleSpace: {list: ["8", "16"]}}
  - {name: num-epochs, parameterType: int, feasibleSpace: {min: "1", max: "5", step: "2"}}
  - {name: width, parameterType: int, feasibleSpace: {min: "1", max: "5"}}
  trialTemplate: {primaryContainerName: training-container}
"""
SAGEMAKER: dict[str, Any] = {
    "HyperParameterTuningJobName": "Tune",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:f1"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2, "MaxRuntimeInSeconds": 3600},
        "ParameterRanges": {
            "ContinuousParameterRanges": [
                {"Name": "learning_rate", "MinValue": "1e-5", "MaxValue": "1e-3", "ScalingType": "Logarithmic"},
                {"Name": "warmup_ratio", "MinValue": "0.1", "MaxValue": "0.2", "ScalingType": "ReverseLogarithmic"},
            ],
            "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "3"}],
            "CategoricalParameterRanges": [{"Name": "train_batch_size", "Values": ["16", "32"]}],
        },
        "TrainingJobEarlyStoppingType": "Auto",
        "RandomSeed": 5,
    },
    "TrainingJobDefinition": {"RoleArn": "arn:secret"},
}
VIZIER: dict[str, Any] = {
    "displayName": "study",
    "maxTrialCount": 9,
    "studySpec": {
        "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}, {"metricId": "loss", "goal": "MINIMIZE"}],
        "algorithm": "RANDOM_SEARCH",
        "medianAutomatedStoppingSpec": {},
        "measurementSelectionType": "LAST_MEASUREMENT",
        "parameters": [
            {
                "parameterId": "lr",
                "doubleValueSpec": {"minValue": 1e-5, "maxValue": 1e-3},
                "scaleType": "UNIT_LOG_SCALE",
            },
            {"parameter_id": "epochs", "integer_value_spec": {"min_value": "1", "max_value": "4"}},
            {"parameterId": "optimizer", "categoricalValueSpec": {"values": ["adamw", "sgd"]}},
        ],
    },
    "trialJobSpec": {},
}


def test_a_sweep_of_weights_and_biases() -> None:
    draft = read_foreign(SWEEP)
    assert draft.spec == {
        "name": "my sweep",
        "sampler": {"name": "tpe"},
        "objective": {"metric": "accuracy"},
        "budget": {"target": 0.95, "trials": 20},
        "space": {
            "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
            "batch_size": [8, 16, 32],
            "epochs": {"low": 1, "high": 4},
            "weight_decay": {"low": 0.0, "high": 0.3},
            "warmup_ratio": 0.1,
        },
        "model": "models/minilm",
        "seed": 7,
        "pruner": {"name": "hyperband", "reduction_factor": 3},
    }
    assert set(draft.left) == {
        *("parameters.lr_in_exponents", "parameters.optimizer.values", "parameters.hidden_units.values"),
        *("early_terminate.min_iter", "program", "command"),
    }
    assert "must be one of" in draft.left["parameters.optimizer.values"]


def test_exponents_are_those_of_e() -> None:
    sweep = {
        "method": "random",
        "parameters": {"lr": {"distribution": "log_uniform", "min": -13.8155, "max": -6.90776}},
    }
    assert read_foreign(json.dumps(sweep)).spec["space"]["learning_rate"]["low"] == pytest.approx(1e-6, rel=1e-4)


def test_an_experiment_of_katib() -> None:
    draft = read_foreign(KATIB)
    assert draft.spec == {
        "name": "tpe-experiment",
        "objective": {"metric": "loss"},
        "budget": {"target": 0.1, "trials": 12, "failures": 3},
        "sampler": {"name": "tpe"},
        "seed": 3,
        "pruner": {"name": "median", "startup_trials": 4, "warmup_steps": 2},
        "parallel": 3,
        "space": {
            "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "batch_size": [8, 16],
            "epochs": {"low": 1, "high": 5, "step": 2},
        },
    }
    assert set(draft.left) == {
        "spec.objective.additionalMetricNames",
        "spec.algorithm.algorithmSettings.1",
        "spec.parameters.3",
        "spec.trialTemplate",
    }


def test_a_tuning_job_of_sagemaker() -> None:
    draft = read_foreign(json.dumps(SAGEMAKER))
    assert draft.spec == {
        "name": "Tune",
        "sampler": {"name": "tpe"},
        "pruner": {"name": "median"},
        "objective": {"metric": "macro_f1"},
        "budget": {"trials": 20, "wall_clock_seconds": 3600},
        "parallel": 2,
        "seed": 5,
        "space": {
            "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "epochs": {"low": 1, "high": 3},
            "batch_size": [16, 32],
        },
    }
    path = "HyperParameterTuningJobConfig.ParameterRanges.ContinuousParameterRanges.1"
    assert set(draft.left) == {"TrainingJobDefinition", path, f"{path}.ScalingType"}
    assert "secret" not in str(draft.left)
    alone = read_foreign(json.dumps(SAGEMAKER["HyperParameterTuningJobConfig"]))
    assert alone.spec["space"] == draft.spec["space"]


def test_a_study_spec_of_vizier() -> None:
    draft = read_foreign(json.dumps(VIZIER))
    assert draft.spec == {
        "name": "study",
        "budget": {"trials": 9},
        "objective": {"metric": "accuracy", "measurement": "last"},
        "sampler": {"name": "random"},
        "pruner": {"name": "median"},
        "space": {
            "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "epochs": {"low": 1, "high": 4},
            "optimizer": ["adamw", "sgd"],
        },
    }
    assert set(draft.left) == {"trialJobSpec", "studySpec.metrics.1"}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_of_optuna_with_its_trials(kind: str, tmp_path: Path) -> None:
    file, plain = tmp_path / "a b%20?#.db", tmp_path / "plain.db"
    journal = JournalStorage(JournalFileBackend(str(plain))) if kind == "journal" else None
    optuna_study(journal if kind == "journal" else f"sqlite:///{plain}")
    plain.rename(file)
    before = file.read_bytes()
    assert is_storage(str(file))
    draft = read_storage(str(file), None)
    assert draft.spec == {
        "name": "mine",
        "objective": {"metric": "accuracy"},
        "space": {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "batch_size": [8, 16]},
        "budget": {"trials": 4},
    }
    assert set(draft.left) == {"params.layers"}
    assert [row["state"] for row in draft.trials] == ["complete", "complete", "pruned", "complete"]
    assert draft.trials[0]["value"] == draft.trials[0]["params.learning_rate"]
    assert file.read_bytes() == before
    with pytest.raises(ValueError, match="there is no study other: it has mine"):
        read_storage(str(file), "other")


def test_a_study_of_optuna_whose_trials_differ_says_what_was_not_taken(tmp_path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "mine")))
    study = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    rates = optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)
    for log, steps in ((True, 2), (False, 3)):
        decay = optuna.distributions.FloatDistribution(1e-3, 0.5, log=log)
        epochs = optuna.distributions.IntDistribution(1, 7, step=steps)
        spaces = {"lr": rates, "learning_rate": rates, "weight_decay": decay, "epochs": epochs}
        values = {"lr": 1e-4, "learning_rate": 1e-5, "weight_decay": 0.1, "epochs": 1}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=spaces, value=0.5))
    study.ask()  # a trial that has not ended
    draft = read_storage(str(tmp_path / "mine"), None)
    assert draft.left == {
        "direction": "the objective has no name (more is better): give a metric",
        "trials": "1 of 3 have not ended",
        "params.learning_rate": "another key is learning_rate already",
        "params.weight_decay.log": "it differs between trials; that of the first is taken",
        "params.epochs.step": "it differs between trials; none is taken",
    }
    assert [row["params.learning_rate"] for row in draft.trials] == [1e-4, 1e-4], "of the name that the space has"


def test_a_database_that_is_not_optunas_stays_as_it_is(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "mine.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE studies (a)")
    before = file.read_bytes()
    with pytest.raises(ValueError, match="storage of Optuna"):
        read_storage(str(file), None)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["a: 1", "[]", "parameters: {lr: !!python/object/apply:os.system [ls]}", "{", "parameters: [1]\nmetrics: 3"],
)
def test_what_is_none_of_them_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the sentences differ
        read_foreign(text)
