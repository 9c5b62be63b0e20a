"""Events made from changes: what a trial, an evaluation or a study is now, as JSON.

The feed of events calls it, in a thread, inside a transaction that sees one instant (`Database.snapshot`). Of several
changes of one trial or study the last alone becomes an event, since all of them would say the same. That a study has
ended is said by its last change alone: whoever reads it has read all before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from luthier.service.api import views
from luthier.service.api.trial_views import trial_views
from luthier.service.caller import DEFAULT_PROJECT
from luthier.service.schemas.events import ReportEvent, StudyGone, TrialEvent, TrialGone
from luthier.service.storage.changes import Changed, is_latest
from luthier.service.storage.service_tables import ChangeRow
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import ENDED, FINISHED, TrialState


@dataclass(frozen=True)
class Event:
    """An event of all streams that want it.

    Attributes:
        id: of the change it tells of.
        kind: `study`, `trial` or `report`.
        study_id: the study.
        study: the study's name.
        project: that the study belongs to.
        data: its JSON.
        number: the trial's number, of a trial or a report.
        assignment_id: the trial.
        begun: whether a worker has ever begun the trial, so that it may have a log.
        ended: whether the trial has ended, or the study is gone.
    """

    id: int
    kind: str
    study_id: int
    study: str
    project: str
    data: str
    number: int | None = None
    assignment_id: int | None = None
    begun: bool = False
    ended: bool = False


def events(session: Session, changes: Sequence[ChangeRow], problem: str | None) -> list[Event]:
    """Return the events of successive changes, in their order.

    Args:
        session: the transaction to read in.
        changes: the rows, by id.
        problem: why no study of the service goes on now (`study_views`).
    """
    last = {_subject(change): change for change in changes}
    wanted = [change for change in changes if last[_subject(change)] is change]
    studies = {
        study.id: study
        for study in session.scalars(select(StudyRow).where(StudyRow.id.in_({change.study_id for change in wanted})))
        if not study.transient
    }
    told = [studies[c.study_id] for c in wanted if c.kind == Changed.STUDY and c.study_id in studies]
    shown = zip(told, views.study_views(session, told, problem), strict=True)
    made: dict[int, Event] = {change.id: _gone(change) for change in wanted if change.kind == Changed.DELETED}
    view_of = {study.id: view for study, view in shown}
    for change in wanted:
        if change.kind == Changed.STUDY and change.study_id in view_of:
            view = view_of[change.study_id]
            if view.state in ENDED and not is_latest(session, change.study_id, change.id):
                continue
            made[change.id] = Event(
                change.id, "study", change.study_id, view.name, view.project, view.model_dump_json()
            )
    of_trials = [change for change in wanted if change.study_id in studies]
    for event in (*_trials(session, of_trials, studies), *_reports(session, of_trials, studies)):
        made[event.id] = event
    return [made[id] for id in sorted(made)]


def study_event(session: Session, study: StudyRow, position: int, problem: str | None) -> Event | None:
    """Return what a study is now, as an event after which the changes beyond `position` follow.

    None where it has ended since: the change that ended it follows.
    """
    view = views.study_views(session, [study], problem)[0]
    if view.state in ENDED and not is_latest(session, study.id, position):
        return None
    return Event(position, "study", study.id, study.name, study.project, view.model_dump_json())


def _subject(change: ChangeRow) -> tuple[object, ...]:
    """Return what a change is about: only the last one about the same becomes an event."""
    return change.kind, change.study_id, change.assignment_id, change.step


def _gone(change: ChangeRow) -> Event:
    name, project = change.name or "", change.project or DEFAULT_PROJECT
    data = _json(StudyGone(name=name, deleted=True))
    return Event(change.id, "study", change.study_id, name, project, data, ended=True)


def _trials(session: Session, changes: Sequence[ChangeRow], studies: dict[int, StudyRow]) -> Iterator[Event]:
    changes = [change for change in changes if change.kind == Changed.TRIAL]
    ids = [change.assignment_id for change in changes]
    present = select(AssignmentRow).where(AssignmentRow.id.in_(ids), ~AssignmentRow.deleted)
    rows = list(session.scalars(present)) if ids else []
    seen = {row.id: (row, view) for row, view in zip(rows, trial_views(session, rows), strict=True)}
    for change in changes:
        study, number = studies[change.study_id], change.number or 0
        name = study.name
        event = Event(change.id, "trial", study.id, name, study.project, "", number, change.assignment_id, ended=True)
        if change.assignment_id not in seen:
            yield replace(event, data=_json(TrialGone(study=name, number=number, deleted=True)))
            continue
        row, view = seen[change.assignment_id]
        data = TrialEvent.model_construct(**{**dict(view), "study": name}).model_dump_json()
        yield replace(event, data=data, begun=bool(row.attempt), ended=TrialState(view.state) in FINISHED)


def _reports(session: Session, changes: Sequence[ChangeRow], studies: dict[int, StudyRow]) -> Iterator[Event]:
    changes = [change for change in changes if change.kind == Changed.REPORT]
    keys = [(change.assignment_id, change.step) for change in changes]
    key = tuple_(ReportRow.assignment_id, ReportRow.step)
    columns = select(ReportRow.assignment_id, ReportRow.step, ReportRow.metrics).where(key.in_(keys))
    metrics = {(id, step): metrics for id, step, metrics in session.execute(columns)} if keys else {}
    for change in changes:
        found = metrics.get((change.assignment_id or 0, change.step or 0))
        if found is None:
            continue  # the trial was deleted, or begins anew
        study, number = studies[change.study_id], change.number or 0
        data = _json(ReportEvent(study=study.name, number=number, step=change.step or 0, metrics=found))
        about = (change.id, "report", study.id, study.name, study.project)
        yield Event(*about, data, number, change.assignment_id, begun=True)


def _json(data: BaseModel) -> str:
    return data.model_dump_json()
