"""One study followed by its events and told to trackers, from its first trial to its end.

It only reads from the service. What was told before this process began, each tracker finds out by itself.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.service.client.errors import ServiceError
from luthier.service.schemas import StepView, StudyView, TrialView
from luthier.service.schemas.events import ReportEvent, ResetEvent, StudyGone, TrialEvent
from luthier.service.trackers.audience import Audience
from luthier.studies.protocol import ENDED, FINISHED, TrialState

if TYPE_CHECKING:
    from luthier.service.client import Client, Event


def track(client: "Client", name: str, audience: Audience, with_model: bool = False) -> StudyView | None:
    """Tell an audience of a study until it has ended, or nobody listens; return the study as it was told last.

    Args:
        client: a client of the study's service.
        name: the study's name.
        audience: the trackers; they are closed at the end.
        with_model: hand the winner's model to them, too.

    Raises:
        ServiceError: the service refused, has been away for a minute, or the study was deleted.
    """
    telling = _Telling(client, name, audience)
    try:
        for event in client.events(name, kinds=("study", "trial", "report")):
            telling.after(event)
            if not audience:
                return telling.study
        if telling.study is not None:
            _end(client, telling.study, audience, with_model)
        return telling.study
    finally:
        audience.close()


def _end(client: "Client", study: StudyView, audience: Audience, with_model: bool) -> None:
    """Tell the end of a study, with its model where one is wanted and there."""
    if not with_model or study.model is None:
        audience.tell(lambda tracker: tracker.end(study, None))
        return
    with tempfile.TemporaryDirectory(prefix="luthier-model-") as folder:
        model = client.download_model(study.name, Path(folder, "model"))
        audience.tell(lambda tracker: tracker.end(study, model))


class _Telling:
    """What the events so far say of a study, and what of it was told.

    Attributes:
        study: as the latest event has it; None before the first.
    """

    def __init__(self, client: "Client", name: str, audience: Audience) -> None:
        self._client, self._name, self._audience = client, name, audience
        self.study: StudyView | None = None
        self._steps: dict[int, set[int]] = {}  # trial -> its evaluations that were told
        self._ended: set[int] = set()

    def after(self, event: "Event") -> None:
        """Tell what an event says that is new. Raises ServiceError where the study is gone."""
        data = event.data
        if isinstance(data, StudyGone):
            raise ServiceError(404, "Not found", f"The study {self._name} was deleted.")
        if isinstance(data, StudyView):
            self._take_study(data)
        elif isinstance(data, ResetEvent):
            self._read_trials()
        elif isinstance(data, TrialEvent):
            self._take_trial(data)
        elif isinstance(data, ReportEvent):
            self._take_report(data)

    def _take_study(self, study: StudyView) -> None:
        is_first, self.study = self.study is None, study
        if is_first:
            self._audience.tell(lambda tracker: tracker.begin(study))
        if is_first or study.state in ENDED:
            self._read_trials()  # at the end, too: nothing may be missing then
        self._audience.tell(lambda tracker: tracker.progress(study))

    def _read_trials(self) -> None:
        for trial in self._client.trials(self._name):
            self._take_trial(trial)

    def _take_trial(self, trial: TrialView) -> None:
        """Tell of a trial what is new; one that waits has no configuration yet that would stay as it is."""
        if trial.state is TrialState.QUEUED or trial.number in self._ended:
            return
        self._begin(trial)
        self._tell_steps(trial)
        if trial.state in FINISHED:
            self._ended.add(trial.number)
            self._audience.tell(lambda tracker: tracker.end_trial(trial))

    def _begin(self, trial: TrialView) -> None:
        if trial.number not in self._steps:
            self._steps[trial.number] = set()
            self._audience.tell(lambda tracker: tracker.begin_trial(trial))

    def _tell_steps(self, trial: TrialView) -> None:
        """Tell the evaluations of a trial that were not seen; their times are spread over that of the trial."""
        now = datetime.now(UTC)
        began, ended = trial.started_at or now, trial.finished_at or now
        for index, step in enumerate(trial.values, 1):
            self._tell_step(trial.number, step, began + (ended - began) * (index / len(trial.values)))

    def _tell_step(self, number: int, step: StepView, at: datetime) -> None:
        if step.step in self._steps[number]:
            return
        self._steps[number].add(step.step)
        self._audience.tell(lambda tracker: tracker.report(number, step.step, step.metrics, at))

    def _take_report(self, report: ReportEvent) -> None:
        if report.number in self._ended:
            return
        if report.number not in self._steps:
            self._take_trial(self._client.trial(self._name, report.number))
        if report.number in self._steps and report.number not in self._ended:
            self._tell_step(report.number, StepView(step=report.step, metrics=report.metrics), datetime.now(UTC))
