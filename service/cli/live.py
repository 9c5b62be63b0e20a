"""A study followed live: snapshots made from the service's events, without a request for each.

`luthier watch` and `luthier wait` call it. A service that is older than its events is polled, as `luthier run` polls
the service in its own process.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from luthier.service.cli.follow import Snapshot, follow, stage_now
from luthier.service.schemas import StepView, StudyView, TrialView
from luthier.service.schemas.events import ReportEvent, ResetEvent, StudyGone, TrialEvent, TrialGone
from luthier.studies.protocol import FINISHED, TrialState

if TYPE_CHECKING:
    from luthier.service.client import Client, Event


def live(client: "Client", name: str) -> Iterator[Snapshot]:
    """Yield snapshots of a study as it changes, the last one after it ended.

    Args:
        client: A client of the study's service.
        name: The study's name.

    Raises:
        ServiceError: The service refused, has been away for a minute, or the study was deleted.
    """
    from luthier.service.client import ServiceError

    followed = _Followed(client, name)
    try:
        for event in client.events(name, kinds=("study", "trial", "report")):
            snapshot = followed.after(event)
            if snapshot is not None:
                yield snapshot
    except ServiceError as error:
        if error.status != 404 or followed.began:
            raise
        client.get(name)  # it is the study that is unknown, or else the route
        yield from follow(client, name)


class _Followed:
    """What the events so far say of a study."""

    def __init__(self, client: "Client", name: str) -> None:
        self._client, self._name = client, name
        self._study: StudyView | None = None
        self._running: dict[int, TrialView] = {}
        self._told: set[int] = set()  # numbers of trials whose end was told
        self._ended: list[TrialView] = []  # those that are told with the next snapshot
        self.began = False

    def after(self, event: "Event") -> Snapshot | None:
        """Return the snapshot after an event; None where nothing can be shown yet.

        Raises ServiceError where the study is gone.
        """
        from luthier.service.client import ServiceError

        data = event.data
        if isinstance(data, StudyGone):
            raise ServiceError(404, "Not found", f"The study {self._name} was deleted.")
        if isinstance(data, StudyView):
            self._study = data
        if not self.began or isinstance(data, ResetEvent):
            self.began = True
            self._read_trials()
        if isinstance(data, TrialEvent):
            self._note(data)
            return None  # the study's event follows, with its counts
        if isinstance(data, TrialGone):
            self._running.pop(data.number, None)
        if isinstance(data, ReportEvent):
            self._add(data)
        return self._snapshot()

    def _snapshot(self) -> Snapshot | None:
        if self._study is None:
            return None
        ended, self._ended = self._ended, []
        return Snapshot(self._study, list(self._running.values()), ended, stage_now(self._client, self._study))

    def _read_trials(self) -> None:
        self._running.clear()
        for trial in self._client.trials(self._name):
            self._note(trial)

    def _note(self, trial: TrialView) -> None:
        """Take a trial's present state."""
        self._running.pop(trial.number, None)
        if trial.state is TrialState.RUNNING:
            self._running[trial.number] = trial
        if trial.state not in FINISHED:
            self._told.discard(trial.number)
        elif trial.number not in self._told:
            self._told.add(trial.number)
            self._ended.append(trial)

    def _add(self, report: ReportEvent) -> None:
        """Take an evaluation of a running trial, unless its state came with it already."""
        trial = self._running.get(report.number)
        if trial is not None and report.step not in {step.step for step in trial.values}:
            values = [*trial.values, StepView(step=report.step, metrics=report.metrics)]
            values.sort(key=lambda step: step.step)
            self._running[report.number] = trial.model_copy(update={"values": values})
