"""Orphans: files and folders of the store that no row names are removed once they are older than a lease.

A cancel, a crash between a row's change and the removal, and a killed child leave them. A thread of each service sweeps
the store. Only what has the store's own form of name is looked at. A file is an orphan once two looks, a lease or more
apart by this process's own clock, found it unchanged and unnamed: no clock that jumps makes a file old, and nothing
that was just linked, written or uploaded is taken for one.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from luthier.service.dispatch import uploads
from luthier.service.dispatch.core import Core
from luthier.service.lifecycle import winner
from luthier.service.storage.column_types import Unreadable
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.file_store import LOG, Place
from luthier.service.storage.schedule_tables import ChampionRow, ScheduleRow
from luthier.service.storage.service_tables import DatasetRow
from luthier.service.storage.store_listing import Entry, list_store, remove_entry
from luthier.service.storage.tables import AssignmentRow, PredictionRow, StudyRow
from luthier.studies.protocol import USES, AssignmentKind, TrialState

log = logging.getLogger("luthier")

LEAST_SECONDS = 60.0  # between the two looks, also where leases are shorter
ROWS = 500  # that one query asks for


@dataclass
class Orphans:
    """The sweeper of one service. It is called by one thread.

    Attributes:
        core: database and store.
        clock: seconds that only grow, by which files become old.
    """

    core: Core
    clock: Callable[[], float] = time.monotonic
    # Unnamed files, and when they were first seen.
    _seen: dict[Place, tuple[Entry, float]] = field(default_factory=dict)

    def sweep(self) -> None:
        """Look at the store once, and remove what has been an orphan for long enough.

        Files are listed before rows are read: what a row names by then is kept. It holds no transaction while it looks
        at files. Raises SQLAlchemyError where the database is away; then nothing is removed.
        """
        entries = list_store(self.core.store.root)
        with self.core.database.reading() as session:
            names = _Names.read(session, self.core, entries)
        now = self.clock()
        seen = self._seen
        self._seen = {}
        patience = max(self.core.leases.lease_seconds, LEAST_SECONDS)
        for entry in entries:
            if names.keep(entry):
                continue
            before, first_seen = seen.get(entry.place, (entry, now))
            if before != entry:  # it has changed meanwhile
                first_seen = now
            if now - first_seen < patience or not self._remove(entry):
                self._seen[entry.place] = (entry, first_seen)
        self._sweep_datasets()

    def _sweep_datasets(self) -> None:
        """Remove what killed uploads have left, and data sets of this database that have no row."""
        files = DatasetStore(self.core.store.root)
        files.sweep()
        for id, number in files.numbers().items():
            with self.core.database.transaction() as session:
                uploads.serialize(self.core, session, id)
                if number <= self.core.database.last_id(session, DatasetRow) and not uploads.is_listed(session, id):
                    files.remove(id)
                    log.info("removed the data set %s, which no row names", id)

    def _remove(self, entry: Entry) -> bool:
        """Remove an orphan; return False where it cannot be removed now, or has changed."""
        with contextlib.suppress(OSError):
            if remove_entry(self.core.store.root, entry):
                self.core.store.orphaned_bytes += entry.bytes
                log.info("removed %s/%s, which no row names (%d bytes)", *entry.place, entry.bytes)
                return True
        return False


@dataclass(frozen=True)
class _Names:
    """What the rows name, for the folders of one look.

    Attributes:
        files: Folder -> names of its files that rows name; folders of rows are there, also without any.
        written: Folders that a living worker writes to: its whole files are named only after they are written.
        issued: The highest ids that this database ever gave to a study and an assignment, and to a schedule.
    """

    files: Mapping[str, set[str]]
    written: set[str]
    issued: tuple[tuple[int, int], tuple[int]]

    @classmethod
    def read(cls, session: Session, core: Core, entries: Iterable[Entry]) -> "_Names":
        """Read the rows' names for what a look has found."""
        files: dict[str, set[str]] = {}
        written: set[str] = set()
        ids = sorted({entry.ids[1] for entry in entries if not entry.of_schedule})
        for first in range(0, len(ids), ROWS):
            _read_assignments(session, ids[first : first + ROWS], files, written)
        _read_winners(session, files, written)
        files |= {f"schedule-{schedule_id}": set() for schedule_id in session.scalars(select(ScheduleRow.id))}
        for schedule_id, model in session.execute(select(ChampionRow.schedule_id, ChampionRow.model)):
            folder = f"schedule-{schedule_id}"
            if isinstance(model, Unreadable):
                written.add(folder)  # its file cannot be told from others
            else:
                files.setdefault(folder, set()).add(model.name)
        last = core.database.last_id
        issued = ((last(session, StudyRow), last(session, AssignmentRow)), (last(session, ScheduleRow),))
        return cls(files, written, issued)

    def keep(self, entry: Entry) -> bool:
        """Return whether an entry is named, belongs to a living worker, or may belong to another database."""
        folder, name = entry.place
        if any(id > issued for id, issued in zip(entry.ids, self.issued[entry.of_schedule], strict=True)):
            return True
        if not name:  # a folder: empty, or a link
            return entry.is_folder and folder in self.files
        if name in self.files.get(folder, ()):
            return True
        return folder in self.written and (entry.is_folder or not entry.is_temporary)


def _read_assignments(session: Session, ids: list[int], files: dict[str, set[str]], written: set[str]) -> None:
    """Add the files that assignments name, and the folders that are written to or read from."""
    columns = (
        AssignmentRow.id,
        AssignmentRow.study_id,
        AssignmentRow.kind,
        AssignmentRow.state,
        AssignmentRow.deleted,
    )
    rows = select(*columns, AssignmentRow.best, AssignmentRow.resume).where(AssignmentRow.id.in_(ids))
    for id, study_id, kind, state, deleted, *refs in session.execute(rows):
        if deleted:  # its folder is an orphan whole
            continue
        folder = f"{study_id}-{id}"
        files[folder] = {LOG} | {ref.name for ref in refs if ref is not None and not isinstance(ref, Unreadable)}
        if (
            any(isinstance(ref, Unreadable) for ref in refs)
            or state == TrialState.RUNNING
            or (kind in (AssignmentKind.COMPARE, *USES) and state == TrialState.QUEUED)
        ):  # its files cannot be told from others
            written.add(folder)
        elif kind == AssignmentKind.COMPARE:
            comparison = session.scalar(select(AssignmentRow.comparison).where(AssignmentRow.id == id))
            files[folder] |= set() if comparison is None else {comparison.predictions.name}
        elif kind == AssignmentKind.PREDICT:
            result = session.scalar(select(PredictionRow.result).where(PredictionRow.assignment_id == id))
            files[folder] |= set() if result is None else {result.file.name}


def _read_winners(session: Session, files: dict[str, set[str]], written: set[str]) -> None:
    """Add the packed models that studies name, and the folders in which models are being packed."""
    for study_id, model in session.execute(select(StudyRow.id, StudyRow.model).where(StudyRow.model.is_not(None))):
        if isinstance(model, Unreadable):
            written |= _folders_of(study_id, files)
        elif model is not None:
            files.setdefault(f"{study_id}-{model.assignment}", set()).add(model.name)
    evaluated = (
        select(StudyRow)
        .join(AssignmentRow)
        .where(AssignmentRow.kind == AssignmentKind.EVALUATE, AssignmentRow.state == TrialState.RUNNING)
    )
    for study in session.scalars(evaluated):
        if study.winner is not None:
            try:
                written.add(f"{study.id}-{winner.winning_assignment(session, study).id}")
            except NoResultFound:  # that row is gone: where its model is being packed cannot be told
                written |= _folders_of(study.id, files)


def _folders_of(study_id: int, files: Mapping[str, set[str]]) -> set[str]:
    """Return the folders of a study's assignments."""
    return {folder for folder in files if folder.startswith(f"{study_id}-")}
