"""Studies in Trackio: a group of runs, one for the study and one for each trial, in its local store or on its server.

TRACKIO_DIR, TRACKIO_PROJECT, TRACKIO_SPACE_ID, TRACKIO_SERVER_URL and what else it reads from the environment say where
they go; without TRACKIO_PROJECT, the project `luthier`. A run is found again by its name, and goes on after its last
step. Its summary is its last step, since a run of Trackio has none.
"""

import contextvars
import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any

import trackio
from trackio.sqlite_storage import SQLiteStorage

from luthier.service.schemas import StudyView, TrialView
from luthier.service.trackers import contents
from luthier.service.trackers.contents import Value
from luthier.studies.wire import Metrics

PROJECT = "luthier"


class TrackioRuns:
    """A study in Trackio; see `Tracker`."""

    title = "Trackio"
    variables = ("TRACKIO_SERVER_URL", "TRACKIO_WRITE_TOKEN", "TRACKIO_SPACE_ID", "TRACKIO_WEBHOOK_URL", "HF_TOKEN")

    def __init__(self) -> None:
        """Open no run yet."""
        self._study: StudyView
        self._parent: _Run | None = None
        self._trials: dict[int, _Run] = {}  # open ones

    def begin(self, study: StudyView) -> None:
        """Open the study's run, or find it."""
        self._study = study
        self._parent = self._open(study.name, contents.study_params(study))

    def progress(self, study: StudyView) -> None:
        """Log the best score so far, once for each number of trials that have ended."""
        if self._parent is not None:
            self._parent.log(contents.best_scores(study), contents.ended_trials(study))

    def begin_trial(self, trial: TrialView) -> None:
        """Open the run of a trial, or find it."""
        name = contents.run_name(self._study, trial.number)
        self._trials[trial.number] = self._open(name, contents.trial_params(trial))

    def report(self, number: int, step: int, metrics: Metrics, at: datetime) -> None:
        """Log an evaluation, unless the run has it."""
        self._trials[number].log(contents.scores(metrics), step)

    def end_trial(self, trial: TrialView) -> None:
        """Log the summary of a trial after its last step, and finish its run."""
        last = trial.values[-1].step if trial.values else 0
        run = self._trials.pop(trial.number)
        run.log(contents.trial_summary(trial), last + 1)
        run.finish()

    def end(self, study: StudyView, model: Path | None) -> None:
        """Log the study's summary, and finish its run; the model stays with the service."""
        if self._parent is not None:
            self._parent.log(contents.study_summary(study), contents.ended_trials(study) + 1)

    def close(self) -> None:
        """Finish what is open; it goes on when it is told again."""
        runs, self._trials = [*self._trials.values()], {}
        parent, self._parent = self._parent, None
        for run in (*runs, *([parent] if parent is not None else [])):
            run.finish()

    def _open(self, name: str, params: Mapping[str, Value]) -> "_Run":
        project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        unique = f"{name} {contents.identity(self._study)[:6]}"  # a later study may have the same name
        return _Run(project, unique, self._study.name, params)


class _Run:
    """A run of Trackio that is open beside others, and takes each step once."""

    def __init__(self, project: str, name: str, group: str, params: Mapping[str, Value]) -> None:
        self._project = project
        options: dict[str, Any] = {
            "project": project,
            "name": name,
            "group": group,
            "config": dict(params),
            "resume": "allow",
        }
        options |= {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
        with redirect_stdout(io.StringIO()):  # in a context of its own: `init` finishes the run of its context
            self._run: Any = contextvars.Context().run(trackio.init, **options)
        self._next_step = self._run._next_step

    def log(self, values: Mapping[str, float | str], step: int) -> None:
        """Log numbers and texts at a step, unless it has that step or a later one."""
        if values and step >= self._next_step:
            self._run.log(dict(values), step=step)
            self._next_step = step + 1

    def finish(self) -> None:
        """Write what is left. Raises OSError where the local store did not take it: Trackio itself only warns."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()
        if self._run.url is None:
            step = SQLiteStorage.get_max_step_for_run(self._project, self._run.name, run_id=self._run.id)
            if self._next_step and step != self._next_step - 1:
                raise OSError("its local store did not take what it was told; see TRACKIO_DIR.")
