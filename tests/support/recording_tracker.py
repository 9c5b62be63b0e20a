"""A tracker that keeps what it is told, for tests of what trackers are told."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier.service.schemas import StudyView, TrialView
from luthier.studies.wire import Metrics


class RecordingTracker:
    """See `Tracker`.

    Attributes:
        told: each message, as its name and what it says.
        fails_at: the name of the message at which it raises `error`.
    """

    title = "Recorder"
    variables: Sequence[str] = ("RECORDER_URI", "RECORDER_KEY")

    def __init__(self, fails_at: str = "", error: Exception | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.fails_at, self.error = fails_at, error or RuntimeError("no reason")

    def _take(self, message: str, *said: Any) -> None:
        if message == self.fails_at:
            raise self.error
        self.told.append((message, *said))

    def of(self, *messages: str) -> list[tuple[Any, ...]]:
        return [said[1:] for said in self.told if said[0] in messages]

    def begin(self, study: StudyView) -> None:
        self._take("begin", study)

    def progress(self, study: StudyView) -> None:
        self._take("progress", study)

    def begin_trial(self, trial: TrialView) -> None:
        self._take("begin_trial", trial.number, trial)

    def report(self, number: int, step: int, metrics: Metrics, at: datetime) -> None:
        self._take("report", number, step, metrics)

    def end_trial(self, trial: TrialView) -> None:
        self._take("end_trial", trial.number, trial)

    def end(self, study: StudyView, model: Path | None) -> None:
        self._take("end", study, sorted(file.name for file in model.iterdir()) if model else None)

    def close(self) -> None:
        self._take("close")
