"""Studies in MLflow: a parent run, and a nested run for each trial, on the server or in the store that MLflow names.

Runs are found again by their tags. MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and what else MLflow reads from the
environment say where they go; without any, MLflow's own store in the working directory, and the experiment `luthier`.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # an address is nobody's output

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from luthier.service.schemas import StudyView, TrialView
from luthier.service.trackers import contents
from luthier.service.trackers.contents import Value
from luthier.studies.protocol import StudyState, TrialState
from luthier.studies.wire import Metrics

EXPERIMENT = "luthier"
STUDY, TRIAL = "luthier.study", "luthier.trial"  # tags by which runs are found again
MODEL = "luthier.artifact_sha256"  # of the model that the run has as its artifact
LONGEST_PARAM, LONGEST_TAG = 500, 5000  # characters that every version of MLflow stores
AT_ONCE = 100  # parameters or tags of one request
PAGE = 1000  # runs of one answer
ENDS: Mapping[str, str] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
    TrialState.CANCELLED: "KILLED",
    StudyState.COMPLETED: "FINISHED",
    StudyState.STOPPED: "FINISHED",
}
"""State -> MLflow's status of the run; any other ends as its own name in a tag says, with KILLED or FAILED."""


class MlflowRuns:
    """A study in MLflow; see `Tracker`."""

    title = "MLflow"
    variables = (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
    )

    def __init__(self) -> None:
        """Reach nothing yet."""
        self._client = MlflowClient()
        self._study: StudyView
        self._experiment = self._parent = ""
        self._runs: dict[int, str] = {}  # trial -> its run
        self._ended: set[int] = set()  # trials whose runs were ended at an earlier time
        self._told: dict[str, dict[tuple[str, int], float]] = {}  # run -> metric and step -> value

    def begin(self, study: StudyView) -> None:
        """Find or make the parent run, and find those of trials."""
        self._study = study
        self._experiment = self._find_experiment()
        for run in self._search(f"tags.`{STUDY}` = '{contents.identity(study)}'"):
            number = run.data.tags.get(TRIAL)
            if number is None:
                self._parent = run.info.run_id
            else:
                self._runs[int(number)] = run.info.run_id
                if run.info.status not in ("RUNNING", "SCHEDULED"):
                    self._ended.add(int(number))
        if self._parent:
            self._client.update_run(self._parent, status="RUNNING")  # a study may have been extended
        else:
            self._parent = self._create(study.name, study.created_at, {})
        self._log_params(self._parent, contents.study_params(study))
        self._read_steps(self._parent)

    def progress(self, study: StudyView) -> None:
        """Log the best score so far, once for each number of trials that have ended."""
        self._log_metrics(self._parent, contents.best_scores(study), contents.ended_trials(study), datetime.now(UTC))

    def begin_trial(self, trial: TrialView) -> None:
        """Find or make the nested run of a trial."""
        if trial.number in self._ended:
            return
        if trial.number not in self._runs:
            tags = {TRIAL: str(trial.number), "mlflow.parentRunId": self._parent}
            name = contents.run_name(self._study, trial.number)
            self._runs[trial.number] = self._create(name, trial.started_at or datetime.now(UTC), tags)
        run = self._runs[trial.number]
        self._log_params(run, contents.trial_params(trial))
        self._read_steps(run)

    def report(self, number: int, step: int, metrics: Metrics, at: datetime) -> None:
        """Log an evaluation, unless the run has it."""
        if number not in self._ended:
            self._log_metrics(self._runs[number], contents.scores(metrics), step, at)

    def end_trial(self, trial: TrialView) -> None:
        """End the nested run of a trial."""
        if trial.number in self._ended:
            return
        run, at = self._runs[trial.number], trial.finished_at or datetime.now(UTC)
        self._log_metrics(run, contents.trial_scores(trial), 0, at)
        self._tag(run, contents.trial_facts(trial))
        self._client.set_terminated(run, ENDS[trial.state], _milliseconds(at))
        self._told.pop(run, None)

    def end(self, study: StudyView, model: Path | None) -> None:
        """End the parent run, with the winner's model as its artifact `model`, once."""
        at = study.finished_at or datetime.now(UTC)
        self._log_metrics(self._parent, contents.study_scores(study), contents.ended_trials(study), at)
        self._tag(self._parent, contents.study_facts(study))
        if study.notes:
            self._client.set_tag(self._parent, "mlflow.note.content", study.notes[:LONGEST_TAG])
        if model is not None and study.model is not None:
            if self._client.get_run(self._parent).data.tags.get(MODEL) != study.model.sha256:
                self._client.log_artifacts(self._parent, str(model), "model")
            self._client.set_tag(self._parent, MODEL, study.model.sha256)
        failed = "FAILED" if study.state is StudyState.FAILED else "KILLED"
        self._client.set_terminated(self._parent, ENDS.get(study.state, failed), _milliseconds(at))

    def close(self) -> None:
        """Do nothing: each call was a request of its own."""

    def _find_experiment(self) -> str:
        """Return the id of the experiment that the environment names; make it where it is missing."""
        if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return number
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return str(self._client.create_experiment(name))
        if experiment.lifecycle_stage != "active":
            raise ValueError(
                f"The experiment {name} was deleted in MLflow. Restore it (`mlflow experiments restore`), or name "
                "another one in MLFLOW_EXPERIMENT_NAME."
            )
        return str(experiment.experiment_id)

    def _search(self, condition: str) -> list[Any]:
        """Return all runs of the experiment that fulfil a condition."""
        runs, token = [], None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=PAGE, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _create(self, name: str, began: datetime, tags: Mapping[str, str]) -> str:
        own = {STUDY: contents.identity(self._study), **tags}
        run = self._client.create_run(self._experiment, _milliseconds(began), own, name)
        return str(run.info.run_id)

    def _log_params(self, run: str, params: Mapping[str, Value]) -> None:
        """Log the parameters that a run lacks; MLflow refuses another value for one that it has."""
        there = self._client.get_run(run).data.params
        new = [Param(key, str(value)[:LONGEST_PARAM]) for key, value in params.items() if key not in there]
        for start in range(0, len(new), AT_ONCE):
            self._client.log_batch(run, params=new[start : start + AT_ONCE])

    def _read_steps(self, run: str) -> None:
        """Note the metrics that a run has, and at which steps."""
        names = self._client.get_run(run).data.metrics
        history = [metric for name in names for metric in self._client.get_metric_history(run, name)]
        history.sort(key=lambda metric: metric.timestamp)
        self._told[run] = {(metric.key, metric.step): metric.value for metric in history}

    def _log_metrics(self, run: str, values: Mapping[str, float], step: int, at: datetime) -> None:
        """Log those of the values that a run does not have at this step."""
        told = self._told[run]
        new = {name: value for name, value in values.items() if told.get((name, step)) != value}
        if new:
            moment = _milliseconds(at)
            self._client.log_batch(run, [Metric(name, value, moment, step) for name, value in new.items()])
            told |= {(name, step): value for name, value in new.items()}

    def _tag(self, run: str, facts: Mapping[str, str]) -> None:
        tags = [RunTag(f"luthier.{name}", text[:LONGEST_TAG]) for name, text in facts.items()]
        self._client.log_batch(run, tags=tags)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
