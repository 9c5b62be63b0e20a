"""Studies as TensorBoard's event files: a folder for the study, and one in it for each trial, with its hyperparameters.

They lie in the folder that TENSORBOARD_LOGGING_DIR names, as for the Trainer of transformers; else in `runs`. The
files of an earlier time are written anew, so that nothing stands there twice.
"""

import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from luthier.service.schemas import StudyView, TrialView
from luthier.service.trackers import contents
from luthier.studies.protocol import TrialState
from luthier.studies.wire import Metrics

FOLDER = "runs"
SUFFIX = ".luthier"  # of our files; others in the folder stay


class TensorboardFiles:
    """A study in event files; see `Tracker`."""

    title = "TensorBoard"
    variables = ()

    def __init__(self) -> None:
        """Write nothing yet."""
        self._study: StudyView
        self._folder = Path()
        self._parent: _File | None = None
        self._best: tuple[int, float] | None = None  # the step and the score that were told last
        self._trials: dict[int, _File] = {}  # open ones

    def begin(self, study: StudyView) -> None:
        """Open the study's file."""
        self._study = study
        root = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or FOLDER)
        self._folder = root / f"{study.name}-{contents.identity(study)[:6]}"
        self._parent = _File(self._folder)
        self._parent.text("spec", contents.study_params(study))

    def progress(self, study: StudyView) -> None:
        """Write the best score so far, where it is another one."""
        step, best = contents.ended_trials(study), study.best
        if best is not None and self._best != (step, best.value) and self._parent is not None:
            self._best = (step, best.value)
            self._parent.scalars(contents.best_scores(study), step, time.time())

    def begin_trial(self, trial: TrialView) -> None:
        """Open the file of a trial, with its hyperparameters."""
        file = _File(self._folder / f"trial-{trial.number}")
        began = trial.started_at.timestamp() if trial.started_at else time.time()
        name = contents.run_name(self._study, trial.number)
        params = contents.trial_params(trial)
        file.add(hparams_pb(params, name, began), 0, began)
        self._trials[trial.number] = file

    def report(self, number: int, step: int, metrics: Metrics, at: datetime) -> None:
        """Write an evaluation."""
        self._trials[number].scalars(contents.scores(metrics), step, at.timestamp())

    def end_trial(self, trial: TrialView) -> None:
        """Write how a trial ended, and close its file."""
        file = self._trials.pop(trial.number)
        at = trial.finished_at.timestamp() if trial.finished_at else time.time()
        step = trial.values[-1].step if trial.values else 0
        file.scalars(contents.trial_scores(trial), step, at)
        file.text("trial", contents.trial_facts(trial))
        file.add(_session_end(trial.state is TrialState.FAILED, at), step, at)
        file.close()

    def end(self, study: StudyView, model: Path | None) -> None:
        """Write how the study ended; event files hold no model."""
        if self._parent is not None:
            at = study.finished_at.timestamp() if study.finished_at else time.time()
            told = contents.best_scores(study)
            final = {name: value for name, value in contents.study_scores(study).items() if name not in told}
            self._parent.scalars(final, contents.ended_trials(study), at)
            self._parent.text("study", contents.study_facts(study))

    def close(self) -> None:
        """Close the open files."""
        files, self._trials = [*self._trials.values()], {}
        parent, self._parent = self._parent, None
        for file in (*files, *([parent] if parent is not None else [])):
            file.close()


class _File:
    """An event file that takes the place of those that an earlier time wrote into its folder."""

    def __init__(self, folder: Path) -> None:
        for earlier in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
            earlier.unlink()
        self._writer = EventFileWriter(str(folder), flush_secs=2, filename_suffix=SUFFIX)

    def add(self, summary: Summary, step: int, at: float) -> None:
        """Write a summary of TensorBoard's; `at` is in seconds since the epoch."""
        self._writer.add_event(Event(wall_time=at, step=step, summary=summary))

    def scalars(self, values: Mapping[str, float], step: int, at: float) -> None:
        """Write numbers, and let readers see them."""
        for name, value in values.items():
            self.add(scalar_pb(name, value), step, at)
        self._writer.flush()

    def text(self, name: str, values: Mapping[str, Any]) -> None:
        """Write names and values as a table of Markdown."""
        rows = "\n".join(f"| {key} | {_escaped(str(value))} |" for key, value in values.items())
        self.add(text_pb(name, f"| name | value |\n|---|---|\n{rows}"), 0, time.time())

    def close(self) -> None:
        """Write all that is left."""
        self._writer.close()


def _session_end(has_failed: bool, at: float) -> Summary:
    """Return how a trial ended, for the page of hyperparameters."""
    status = Status.STATUS_FAILURE if has_failed else Status.STATUS_SUCCESS
    told = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=at))
    summary = Summary()
    kind = metadata.create_summary_metadata(told)
    summary.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=kind, tensor=metadata.NULL_TENSOR)
    return summary


def _escaped(text: str) -> str:
    """Return a text that stays in its cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
