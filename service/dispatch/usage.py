"""What the disk is used for, by study, data set and schedule: one walk through the store, and a few queries.

The routes call it. It changes nothing. A file with several names is counted once, for what made it.
"""

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from luthier.service import caller
from luthier.service.dispatch.core import Core
from luthier.service.lifecycle import datasets
from luthier.service.schemas.usage import CacheUsage, DatasetUsage, ScheduleUsage, StudyUsage, UsageView
from luthier.service.storage.database import Database
from luthier.service.storage.file_store import LOG, MODEL
from luthier.service.storage.schedule_tables import ScheduleRow
from luthier.service.storage.service_tables import DatasetRow
from luthier.service.storage.store_sizes import FileSize, counted_once, folder_sizes, tree_bytes
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.times import instant
from luthier.studies.host import prefix_folders
from luthier.studies.protocol import TRAINING, AssignmentKind
from luthier.studies.uploads import ARCHIVES

FIELDS = ("checkpoints", "model", "logs", "predictions", "onnx", "other")
OF_KIND = {AssignmentKind.PREDICT: "predictions", AssignmentKind.ONNX: "onnx"}


def usage(core: Core, most: int, cache_on_disk: Path | None = None) -> UsageView:
    """Return what the disk is used for; names are those of the caller's project.

    Args:
        core: database and store.
        most: studies that are listed, the largest.
        cache_on_disk: the folder of frozen prefixes, where a setting names it.

    Raises:
        OSError: the store cannot be read.
    """
    folders = counted_once(folder_sizes(core.store.root))
    project = caller.current().project
    with core.database.reading() as session:
        studies, elsewhere, unnamed = _studies(session, project, folders)
        schedules, of_other_schedules, without_schedule = _schedules(session, project, folders)
        uploads, of_other_data = _datasets(session, project)
        database_bytes = database_size(core.database, session)
    listed = studies[:most]
    disk = shutil.disk_usage(core.store.root)
    in_folders = sum(file.bytes for files in folders.values() for file in files)
    store_bytes = in_folders + sum(one.bytes for one in uploads) + of_other_data
    rest = sum(one.bytes for one in studies[most:]) + elsewhere
    caches = prefix_folders(cache_on_disk)
    return UsageView(
        bytes=store_bytes + database_bytes,
        store_bytes=store_bytes,
        database_bytes=database_bytes,
        free_bytes=disk.free,
        disk_bytes=disk.total,
        studies=listed,
        more_studies=len(studies) - len(listed),
        more_bytes=rest + of_other_schedules + of_other_data,
        unnamed_bytes=unnamed + without_schedule,
        datasets=uploads,
        schedules=schedules,
        caches=[CacheUsage(place=place, bytes=tree_bytes(folder)) for place, folder in caches.items()],
    )


def database_size(database: Database, session: Session) -> int:
    """Return the bytes of the database; of SQLite's with the files beside it."""
    if not database.sqlite:
        return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    file = Path(make_url(database.url).database or "")
    beside = [file.with_name(file.name + ending) for ending in ("", "-wal", "-shm")]
    return sum(part.stat().st_size for part in beside if part.exists())


def _studies(
    session: Session, project: str, folders: Mapping[str, list[FileSize]]
) -> tuple[list[StudyUsage], int, int]:
    """Return the usage of a project's studies, the largest first; the bytes of other studies, and of none."""
    kinds = _kinds(session)
    sizes: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIELDS, 0))
    for folder, files in folders.items():
        study_id, _, assignment_id = folder.partition("-")
        if study_id.isdigit():
            for file in files:
                sizes[int(study_id)][_field(kinds.get(int(assignment_id)), file.name)] += file.bytes
    columns = select(StudyRow.id, StudyRow.name, StudyRow.state, StudyRow.finished_at, StudyRow.project)
    found, elsewhere, named = [], 0, set()
    for id, name, state, finished_at, of_project in session.execute(columns.where(~StudyRow.transient)):
        named.add(id)
        total = sum(sizes[id].values())
        if of_project == project:
            ended = instant(finished_at)
            found.append(StudyUsage(name=name, state=state, finished_at=ended, bytes=total, **sizes[id]))
        else:
            elsewhere += total
    unnamed = sum(sum(parts.values()) for id, parts in sizes.items() if id not in named)
    return sorted(found, key=lambda one: (-one.bytes, one.name)), elsewhere, unnamed


def _kinds(session: Session) -> dict[int, str]:
    """Return id -> kind of the assignments that train nothing; they are few."""
    columns = select(AssignmentRow.id, AssignmentRow.kind).where(AssignmentRow.kind.not_in(TRAINING))
    return {row.id: row.kind for row in session.execute(columns)}


def _field(kind: str | None, name: str) -> str:
    """Return the part of a study's usage that a file of an assignment belongs to; `kind` is None for a trial."""
    if kind in OF_KIND:
        return OF_KIND[AssignmentKind(kind)]
    if name == LOG:
        return "logs"
    if name == MODEL:
        return "model"
    return "other" if kind is not None or name.startswith(".") else "checkpoints"


def _schedules(
    session: Session, project: str, folders: Mapping[str, list[FileSize]]
) -> tuple[list[ScheduleUsage], int, int]:
    """Return what a project's schedules keep, the largest first; the bytes of other schedules, and of none."""
    rows = {row_id: (name, of) for row_id, name, of in session.execute(_SCHEDULES)}
    found, elsewhere, unnamed = [], 0, 0
    for folder, files in folders.items():
        prefix, _, number = folder.partition("-")
        if prefix != "schedule":
            continue
        total = sum(file.bytes for file in files)
        name, of_project = rows.get(int(number), (None, None))
        if name is None:
            unnamed += total
        elif of_project == project:
            found.append(ScheduleUsage(name=name, bytes=total, models=len(files)))
        else:
            elsewhere += total
    return sorted(found, key=lambda one: (-one.bytes, one.name)), elsewhere, unnamed


_SCHEDULES = select(ScheduleRow.id, ScheduleRow.name, ScheduleRow.project)


def _datasets(session: Session, project: str) -> tuple[list[DatasetUsage], int]:
    """Return a project's data sets, the largest first, and the bytes of the others."""
    rows = list(session.scalars(select(DatasetRow)))
    users = datasets.users(session, [row.digest for row in rows])
    archives = set(ARCHIVES.values())
    found, elsewhere = [], 0
    for row in rows:
        size = row.bytes + (row.unpacked_bytes if row.kind in archives else 0)
        if row.project == project:
            of = users[row.digest]
            count = len(of.studies) + len(of.schedules)
            found.append(DatasetUsage(id=row.digest, name=row.name, bytes=size, users=count))
        else:
            elsewhere += size
    return sorted(found, key=lambda one: (-one.bytes, one.id)), elsewhere
