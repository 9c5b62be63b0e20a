"""The files that the rows of a database name, with their checksums: what a backup of it must hold.

`backup.py` and `restore.py` call it on a copy of a database.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.storage.column_types import Unreadable
from luthier.service.storage.database import Database
from luthier.service.storage.file_store import FileStore, Place
from luthier.service.storage.migrations import upgrade
from luthier.service.storage.schedule_tables import ChampionRow, ScheduleRow
from luthier.service.storage.service_tables import DatasetRow
from luthier.service.storage.tables import AssignmentRow, PredictionRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind
from luthier.studies.uploads import store_folder, stored_name
from luthier.studies.wire import FileRef


class Named(NamedTuple):
    """A file that a row names: its path in the store, and what it holds."""

    path: str
    sha256: str
    bytes: int


def named_files(database: Path, beside: Path) -> list[Named]:
    """Return the files that the rows of a SQLite database name, without those that may have been removed since.

    Args:
        database: closed, and not changed: another version may have written it, and its disk may be read only.
        beside: a folder for a copy of it for a while, which gets this version's schema.

    Raises:
        NewerSchema: a newer version wrote it.
        OSError: a disk refuses something.
    """
    with tempfile.TemporaryDirectory(dir=beside, prefix=".named-") as scratch:
        copy = Path(scratch, database.name)
        shutil.copyfile(database, copy)
        opened = Database(f"sqlite:///{copy}")
        try:
            upgrade(opened.engine)
            with opened.reading() as session:
                return [*_of_assignments(session), *_of_studies(session), *_of_schedules(session), *_uploaded(session)]
        finally:
            opened.dispose()


def _named(place: Place, ref: FileRef) -> Named:
    return Named(f"{place.folder}/{place.name}", ref.sha256, ref.bytes)


def _of_assignments(session: Session) -> Iterator[Named]:
    columns = (AssignmentRow.study_id, AssignmentRow.id, AssignmentRow.kind, AssignmentRow.state)
    refs = (AssignmentRow.best, AssignmentRow.resume, AssignmentRow.comparison)
    sources = {row.assignment_id: row for row in session.scalars(select(PredictionRow))}
    for study_id, id, kind, state, best, resume, comparison in session.execute(select(*columns, *refs)):
        named: list[FileRef | Unreadable | None] = [best]
        if kind != AssignmentKind.ONNX or state not in FINISHED:  # its packed model goes when it ends
            named.append(resume)
        if comparison is not None and not isinstance(comparison, Unreadable):
            named.append(comparison.predictions)
        prediction = sources.get(id)
        if prediction is not None and state not in FINISHED:
            named += [prediction.source, prediction.packed]
        elif prediction is not None and not isinstance(prediction.result, Unreadable | None):
            named.append(prediction.result.file)
        for ref in named:
            if ref is not None and not isinstance(ref, Unreadable):
                yield _named(FileStore.place(study_id, id, ref.name), ref)


def _of_studies(session: Session) -> Iterator[Named]:
    for id, model in session.execute(select(StudyRow.id, StudyRow.model).where(StudyRow.model.is_not(None))):
        if not isinstance(model, Unreadable | None):
            yield _named(FileStore.place(id, model.assignment, model.name), model)


def _of_schedules(session: Session) -> Iterator[Named]:
    """Yield the models in use; `retention.py` removes older ones, whose rows stay."""
    in_use = select(ChampionRow).join(ScheduleRow, ScheduleRow.champion_id == ChampionRow.id)
    for champion in session.scalars(in_use):
        if not isinstance(champion.model, Unreadable):
            yield _named(FileStore.champion_place(champion.schedule_id, champion.model.name), champion.model)


def _uploaded(session: Session) -> Iterator[Named]:
    for row in session.scalars(select(DatasetRow)):
        yield Named(f"{store_folder(row.digest)}/{stored_name(row.kind)}", row.sha256, row.bytes)
