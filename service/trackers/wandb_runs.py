"""Studies in Weights & Biases: a group of runs, one for the study and one for each trial, online or offline.

The ids of the runs are those of study and trial, so that a run that is there goes on. WANDB_MODE, WANDB_PROJECT,
WANDB_DIR, WANDB_API_KEY and what else it reads from the environment say where they go; without WANDB_PROJECT, the
project `luthier`. Offline, a run is a folder, which is written anew unless it is whole.
"""

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import wandb

from luthier.service.schemas import StudyView, TrialView
from luthier.service.trackers import contents
from luthier.service.trackers.contents import Value
from luthier.studies.protocol import StudyState, TrialState
from luthier.studies.wire import Metrics

PROJECT = "luthier"
WHOLE = "luthier-whole"  # a file beside an offline run that was written to its end
FAILED = (TrialState.FAILED, StudyState.FAILED)


class WandbRuns:
    """A study in Weights & Biases; see `Tracker`."""

    title = "Weights & Biases"
    variables = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE")

    def __init__(self) -> None:
        """Open no run yet."""
        quiet = {"console": "off", "silent": True, "disable_git": True, "disable_code": True, "x_disable_stats": True}
        self._settings = wandb.Settings(**quiet)
        self._study: StudyView
        self._parent: Any = None
        self._runs: dict[int, Any] = {}  # open trials

    def begin(self, study: StudyView) -> None:
        """Open the study's run; an offline one is written anew."""
        self._study = study
        self._parent = self._open(
            contents.run_id(study), study.name, "study", contents.study_params(study), study.tags, study.notes
        )

    def progress(self, study: StudyView) -> None:
        """Log the best score so far; W&B drops what it has at that step, or a later one."""
        self._log(self._parent, contents.best_scores(study), contents.ended_trials(study))

    def begin_trial(self, trial: TrialView) -> None:
        """Open the run of a trial, unless an offline run has it whole."""
        name = contents.run_name(self._study, trial.number)
        run_id = contents.run_id(self._study, trial.number)
        if not any((folder / WHOLE).exists() for folder in _offline(run_id)):
            self._runs[trial.number] = self._open(run_id, name, "trial", contents.trial_params(trial))

    def report(self, number: int, step: int, metrics: Metrics, at: datetime) -> None:
        """Log an evaluation, unless the run has it."""
        if number in self._runs:
            self._log(self._runs[number], contents.scores(metrics), step)

    def end_trial(self, trial: TrialView) -> None:
        """Finish the run of a trial, with its summary."""
        run = self._runs.pop(trial.number, None)
        if run is not None:
            self._finish(run, contents.trial_summary(trial), trial.state in FAILED)

    def end(self, study: StudyView, model: Path | None) -> None:
        """Finish the study's run, with the winner's model as an artifact of it."""
        if model is not None:
            artifact = wandb.Artifact(f"{study.name}-model", type="model")
            artifact.add_dir(str(model))
            self._parent.log_artifact(artifact)
        parent, self._parent = self._parent, None
        parent.tags = tuple(study.tags)
        parent.notes = study.notes or None
        self._finish(parent, contents.study_summary(study), study.state in FAILED)

    def close(self) -> None:
        """Finish what is open, as interrupted: the same runs go on later."""
        runs, self._runs = [*self._runs.values()], {}
        parent, self._parent = self._parent, None
        for run in (*runs, *([parent] if parent is not None else [])):
            run.finish(exit_code=1)

    def _open(
        self,
        run_id: str,
        name: str,
        kind: str,
        params: Mapping[str, Value],
        tags: list[str] | None = None,
        notes: str | None = None,
    ) -> Any:
        """Open a run; of an earlier time, remove the folder of an offline one that was not finished."""
        for folder in _offline(run_id):
            shutil.rmtree(folder)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=self._study.name,
            job_type=kind,
            id=run_id,
            name=name,
            config=dict(params),
            tags=tags,
            notes=notes,
            resume="allow",
            allow_val_change=True,
            reinit="create_new",
            settings=self._settings,
        )

    def _log(self, run: Any, values: Mapping[str, float], step: int) -> None:
        if values and step >= run.step:
            run.log(dict(values), step=step, commit=True)  # else it would wait for the next one

    def _finish(self, run: Any, summary: Mapping[str, float | str], has_failed: bool) -> None:
        run.summary.update(dict(summary))
        folder = Path(run.settings.sync_dir) if run.offline else None
        run.finish(exit_code=int(has_failed))
        if folder is not None:
            (folder / WHOLE).touch()


def _offline(run_id: str) -> list[Path]:
    """Return the folders of a run that were written offline."""
    root = Path(os.environ.get("WANDB_DIR") or ".")
    return [folder for name in ("wandb", ".wandb") for folder in (root / name).glob(f"offline-run-*-{run_id}")]
