"""Uploaded data sets and who uses them: found, kept while they are used, deleted.

Called by the API, by `transitions.create` and with each assignment, within the caller's transaction. Whoever creates a
study or a schedule holds the rows of the data sets that it names, and a deletion locks its row before it looks who uses
it: so none is deleted under a study that is being created.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Text, case, func, select, type_coerce
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from luthier.service.caller import current
from luthier.service.errors import Conflict, Invalid, NotFound
from luthier.service.schemas import Fault
from luthier.service.storage.schedule_tables import ScheduleRow
from luthier.service.storage.service_tables import DatasetRow
from luthier.service.storage.tables import StudyRow
from luthier.studies.dataset import SplitFiles
from luthier.studies.protocol import ENDED
from luthier.studies.spec import StudySpec
from luthier.studies.uploads import ARCHIVES, ID_DIGITS, PREFIX, Reference, parse_reference
from luthier.studies.wire import DatasetRef

LISTED_FILES = 1_000  # of a data set, in its row
TOLD = 5  # names in a message
_NAMED = re.compile(rf"{PREFIX}([0-9a-f]{{{ID_DIGITS}}})")


@dataclass
class Users:
    """Who uses a data set.

    Attributes:
        studies: Names of all studies whose spec names it, the newest first.
        schedules: Names of such schedules.
        active: What forbids its deletion, as words for people.
    """

    studies: list[str] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    active: list[str] = field(default_factory=list)


def find(session: Session, id: str, lock: bool = False) -> DatasetRow:
    """Return the row of a data set of the caller's project, locked until the transaction ends if asked.

    Raises NotFound.
    """
    statement = select(DatasetRow).where(DatasetRow.digest == id, DatasetRow.is_here())
    row = None if "\0" in id else session.scalar(statement.with_for_update() if lock else statement)
    if row is None:
        raise NotFound(f"There is no data set {id[:100]}; `luthier dataset list` shows those that are there.")
    return row


def hold(session: Session, spec: StudySpec, *inside: str) -> None:
    """Keep the data sets that a spec names from being deleted until the transaction ends.

    Args:
        session: the transaction that creates what uses them.
        spec: the study's spec.
        inside: the path of the spec in the document that the user sent.

    Raises:
        Invalid: one is not there, or has no such file.
    """
    faults = []
    for path, text in _sources(spec):
        try:
            reference = parse_reference(text)
            fault = None if reference is None else _fault(session, text, reference)
        except ValueError as error:
            fault = f"{error}."
        if fault is not None:
            faults.append(Fault(path=".".join((*inside, *path)), message=fault))
    if faults:
        raise Invalid("; ".join(map(str, faults)), faults)


def _fault(session: Session, text: str, reference: Reference) -> str | None:
    """Return what is wrong with the data set that a spec names; its row is shared with other readers only."""
    rows = select(DatasetRow).where(DatasetRow.digest == reference.id, DatasetRow.is_here())
    row = session.scalar(rows.with_for_update(read=True))
    if row is None:
        cure = "`luthier dataset upload` stores one, and `luthier dataset list` shows those that are there"
        return f"There is no data set {reference.id} in the project {current().project}; {cure}."
    names = [str(file["path"]) for file in row.files]
    known = row.file_count > len(names) or not reference.path
    if known or any(name == reference.path or name.startswith(f"{reference.path}/") for name in names):
        return None
    listed = ", ".join(names[:TOLD]) + (f" and {row.file_count - TOLD:,} more" if row.file_count > TOLD else "")
    return f"{text} is not in that data set; it holds {listed}."


def references(session: Session, study: StudyRow) -> list[DatasetRef]:
    """Return the data sets that a study's spec names, as workers fetch them; those that are gone are left out."""
    ids = {match[1] for _, text in _sources(study.spec) if (match := _NAMED.match(text))}
    of_study = (DatasetRow.digest.in_(ids), DatasetRow.project == study.project)
    rows = session.scalars(select(DatasetRow).where(*of_study).order_by(DatasetRow.id)) if ids else ()
    return [
        DatasetRef(id=row.digest, kind=row.kind, sha256=row.sha256, bytes=row.bytes, unpacked_bytes=row.unpacked_bytes)
        for row in rows
    ]


def users(session: Session, ids: Iterable[str]) -> dict[str, Users]:
    """Return id -> who uses the data set of the caller's project, in two queries."""
    found = {id: Users() for id in ids}
    study_spec, schedule_spec = type_coerce(StudyRow.spec, Text), type_coerce(ScheduleRow.spec, Text)
    columns = select(StudyRow.name, StudyRow.state, StudyRow.transient, study_spec)
    for name, state, transient, spec in session.execute(
        columns.where(study_spec.contains(PREFIX), StudyRow.is_here()).order_by(StudyRow.id.desc())
    ):
        for id in set(_NAMED.findall(spec)) & found.keys():
            if not transient:
                found[id].studies.append(name)
            if state not in ENDED:
                found[id].active.append("a plan that is being made" if transient else f"the study {name} ({state})")
    schedules = select(ScheduleRow.name, ScheduleRow.next_at, schedule_spec)
    for name, next_at, spec in session.execute(schedules.where(schedule_spec.contains(PREFIX), ScheduleRow.is_here())):
        for id in set(_NAMED.findall(spec)) & found.keys():
            found[id].schedules.append(name)
            if next_at is not None:
                found[id].active.append(f"the schedule {name}")
    return found


def delete(session: Session, id: str, unless_named: bool = False) -> None:
    """Delete the row of a data set that nobody needs any more; the caller removes its files after the last row's end.

    Args:
        session: the caller's transaction.
        id: the data set's.
        unless_named: keep it also where any study or schedule names it.

    Raises:
        NotFound: It is not there.
        Conflict: A study that has not ended uses it, or a schedule that will run again.
    """
    row = find(session, id, lock=True)
    of = users(session, [id])[id]
    active = of.active or ([*of.studies, *of.schedules] if unless_named else [])
    if active:
        listed = ", ".join(active[:TOLD]) + (f" and {len(active) - TOLD} more" if len(active) > TOLD else "")
        raise Conflict(f"The data set {id} is in use by {listed}; wait for their end, or cancel or delete them first.")
    session.execute(sql_delete(DatasetRow).where(DatasetRow.id == row.id))


def totals(session: Session, project: str | None = None) -> tuple[int, int]:
    """Return the number of data sets, and the bytes of their files in the store; archives lie there unpacked too.

    `project`: of this project alone; None: of all.
    """
    unpacked = case((DatasetRow.kind.in_(set(ARCHIVES.values())), DatasetRow.unpacked_bytes), else_=0)
    size_of = func.max(DatasetRow.bytes + unpacked).label("size")  # those of several projects share their files
    contents = select(func.count().label("rows"), size_of).group_by(DatasetRow.digest)
    within = (contents if project is None else contents.where(DatasetRow.project == project)).subquery()
    count, size = session.execute(select(func.sum(within.c.rows), func.sum(within.c.size))).one()
    return int(count or 0), int(size or 0)


def _sources(spec: StudySpec) -> list[tuple[tuple[str, ...], str]]:
    """Return the path and the text of each source that a spec names."""
    source = spec.dataset.source
    path = ("dataset", "source")
    if isinstance(source, SplitFiles):
        return [((*path, split), text) for split, text in source.model_dump().items() if text is not None]
    return [(path, source)]
