"""What a tracker is told of a study: the protocol that each one in this folder fulfils.

`follow.py` calls it, in one thread, in the order that the methods state. An implementation must double nothing when
the same study is told again from its beginning, be it by another process; and it stores and prints no address or key.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from luthier.service.schemas import StudyView, TrialView
from luthier.studies.wire import Metrics


class Tracker(Protocol):
    """A study in a tracker; any method may raise whatever the tracker's library raises.

    Attributes:
        title: the tracker's name, for people.
        variables: the environment variables that say where it is, and the keys; no message may show their values.
    """

    title: str
    variables: Sequence[str]

    def begin(self, study: StudyView) -> None:
        """Open the parent run of a study, or find that of an earlier time. Called once, before all else."""

    def progress(self, study: StudyView) -> None:
        """Take the study as it is now: its best score so far. Called whenever it has changed."""

    def begin_trial(self, trial: TrialView) -> None:
        """Open the run of a trial, with its parameters, or find it. Called once a trial, before its reports."""

    def report(self, number: int, step: int, metrics: Metrics, at: datetime) -> None:
        """Take an evaluation of an open trial.

        Args:
            number: the trial's.
            step: the number of the evaluation, from 1; none comes twice.
            metrics: metric -> score; None where it is not finite.
            at: when it was made; an estimate where the trial was not followed at that time.
        """

    def end_trial(self, trial: TrialView) -> None:
        """Close the run of an open trial, with its state, reason, score, seconds and memory."""

    def end(self, study: StudyView, model: Path | None) -> None:
        """Close the parent run, with the winner's test scores. Called once, after all else.

        Args:
            study: in one of the states in which studies end.
            model: the directory of the winner's model, to be kept as an artifact; None: leave it out.
        """

    def close(self) -> None:
        """Let go of the tracker, also after an error and before the study's end; open runs stay as they are."""
