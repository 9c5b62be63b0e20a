"""What an ended study does not need any more, kind by kind: the rows that forget it, and the files that go.

`prune.py` calls it, with the study's row locked. Rows forget first, and the files go after the commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from luthier.service.lifecycle import winner
from luthier.service.schemas.usage import Prunable
from luthier.service.storage.file_store import LOG, MODEL, FileStore, Place
from luthier.service.storage.leases import Leases
from luthier.service.storage.store_sizes import FileSize
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, TRAINING, USES, AssignmentKind, StudyState

USED = {Prunable.PREDICTIONS: AssignmentKind.PREDICT, Prunable.ONNX: AssignmentKind.ONNX}


@dataclass
class Spent:
    """A part of a study that nobody needs.

    Attributes:
        kind: what it is.
        rows: of weights: the trials that forget theirs; of predictions and ONNX files: the assignments that go.
        files: the files that go, each with its place.
    """

    kind: Prunable
    rows: list[AssignmentRow] = field(default_factory=list)
    files: list[tuple[Place, FileSize]] = field(default_factory=list)

    def forget(self, leases: Leases, session: Session) -> None:
        """Let the rows name the files no more, in the caller's transaction, which has locked the study."""
        for row in self.rows:
            if self.kind is Prunable.WEIGHTS:
                row.best = row.resume = None
            else:
                leases.remove(session, row)

    def remove_files(self, store: FileStore) -> None:
        """Remove the files, once the rows have forgotten them."""
        for place, _ in self.files:
            store.remove(place)
        for row in self.rows if self.kind in USED else []:
            store.remove_assignment(row.study_id, row.id)


def spent(
    session: Session, study: StudyRow, kind: Prunable, keep_winner: bool, sizes: Mapping[str, list[FileSize]]
) -> Spent:
    """Return what of one kind an ended study does not need.

    Args:
        session: the caller's transaction.
        study: its row; nothing of it runs but predictions and exports.
        kind: weights, logs, predictions or onnx; of whole studies there is nothing here.
        keep_winner: the winner's weights are needed.
        sizes: folder of the store -> its files.
    """
    if kind is Prunable.WEIGHTS:
        return _weights(session, study, keep_winner, sizes)
    ended = select(AssignmentRow).where(AssignmentRow.study_id == study.id, AssignmentRow.state.in_(FINISHED))
    if kind is Prunable.LOGS:
        logged = session.scalars(ended.where(AssignmentRow.kind.not_in(USES)))  # the others' go with them
        places = [(row, file) for row in logged for file in _listed(sizes, row) if file.name == LOG]
        return Spent(kind, files=[(_place(row, file), file) for row, file in places])
    if kind in USED:
        rows = list(session.scalars(ended.where(AssignmentRow.kind == USED[kind])))
        return Spent(kind, rows, [(_place(row, file), file) for row in rows for file in _listed(sizes, row)])
    return Spent(kind)


def _weights(session: Session, study: StudyRow, keep_winner: bool, sizes: Mapping[str, list[FileSize]]) -> Spent:
    """Return the checkpoints of ended trials, without those that an end of the study may still need."""
    if not study.is_readable:
        return Spent(Prunable.WEIGHTS)
    try:
        needed = winner.ids_to_keep(session, study)
    except NoResultFound:  # the row of its winner is gone, and its weights cannot be told
        return Spent(Prunable.WEIGHTS)
    if not keep_winner and _is_final(study):
        needed = set()
    trained = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id, AssignmentRow.kind.in_(TRAINING), AssignmentRow.state.in_(FINISHED)
    )
    rows: Sequence[AssignmentRow] = [row for row in session.scalars(trained) if row.id not in needed]
    files = [
        (_place(row, file), file)
        for row in rows
        for file in _listed(sizes, row)
        if file.name not in (LOG, MODEL) and not file.name.startswith(".")
    ]
    return Spent(Prunable.WEIGHTS, [row for row in rows if row.best is not None or row.resume is not None], files)


def _is_final(study: StudyRow) -> bool:
    """Return whether an ended study needs no weights: its winner is packed, or none is to be measured.

    One that could not measure its winner needs them to try again.
    """
    if study.state == StudyState.CANCELLED:
        return True
    return study.model is not None and study.earlier is None


def _listed(sizes: Mapping[str, list[FileSize]], row: AssignmentRow) -> list[FileSize]:
    return sizes.get(f"{row.study_id}-{row.id}", [])


def _place(row: AssignmentRow, file: FileSize) -> Place:
    return FileStore.place(row.study_id, row.id, file.name)
