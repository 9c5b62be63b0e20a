"""ONNX files of winners: one for each study, made by a worker from the packed winner, of the kind `onnx`.

The routes ask for one, look at it and delete it; `claims.py` asks for the files that its worker reads, `outcomes.py`
records its end. Its number is the winner's trial; its row has the archive, and the packed model that it was made of, in
columns that only trials need otherwise (`AssignmentRow.onnx`, `packed`).
"""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.dispatch.predictions import winner_of
from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import study_rows
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.file_store import MODEL, FileStore
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, Outcome, Reason, TrialState
from luthier.studies.wire import FileRef

NO_RESULT = "The worker ended without an ONNX file."
LOST = (TrialState.FAILED, TrialState.CANCELLED)
"""States after which the same file is made anew when somebody asks."""


def ask(core: Core, name: str) -> bool:
    """Queue the ONNX file of a study's winner, unless there is one or a worker makes it. All of it happens, or nothing.

    What there is of an earlier winner, and what has failed, goes.

    Returns:
        Whether it was queued now.

    Raises:
        NotFound: there is no such study.
        Conflict: it has no winner, or its task has no ONNX files.
    """
    removed: list[AssignmentRow] = []
    with core.database.transaction() as session:
        study = study_rows.lock(session, name)
        model, trial = exportable_winner(study)
        present = None
        for row in list(session.scalars(_of_study(study.id))):
            if _is_of(row, trial, model) and row.state not in LOST:
                present = row
            else:
                core.leases.remove(session, row)
                removed.append(row)
        if present is None:
            _queue(core, session, study, model, trial)
    for row in removed:
        core.store.remove_assignment(row.study_id, row.id)
    return present is None


def _queue(core: Core, session: Session, study: StudyRow, model: StoredModel, trial: int) -> None:
    """Queue the export of a locked study's packed winner, of that trial, with a link to it in the export's folder."""
    now = core.database.time(session)
    params = session.get_one(AssignmentRow, model.assignment).params
    row = core.leases.queue(session, study, AssignmentKind.ONNX, trial, params, study.spec.seed, now)
    row.packed = FileRef(name=MODEL, sha256=model.sha256, bytes=model.bytes)
    core.store.link(core.store.place(study.id, model.assignment, model.name), core.store.place(study.id, row.id, MODEL))


def exportable_winner(study: StudyRow) -> tuple[StoredModel, int]:
    """Return the packed winner of a study whose task has ONNX files, and its trial. Raises Conflict."""
    if not study.external and study.spec.task_info.no_onnx:
        task = study.spec.task_info
        raise Conflict(
            f"{study.name} has no ONNX file: its task is {task.name}, and {task.no_onnx}. Use the model itself "
            f"(`luthier model {study.name}`)."
        )
    return winner_of(study, "export")


def find(session: Session, name: str) -> AssignmentRow:
    """Return the export of a named study's present winner. Raises NotFound, Conflict."""
    return of_winner(session, study_rows.find(session, name))


def of_winner(session: Session, study: StudyRow) -> AssignmentRow:
    """Return the export of a study's present winner. Raises NotFound where nobody has asked, Conflict."""
    name = study.name
    model, trial = exportable_winner(study)
    row = session.scalar(_of_study(study.id).where(AssignmentRow.number == trial))
    if row is None or not _is_of(row, trial, model):
        raise NotFound(f"Nobody has asked for an ONNX file of {name}'s winner: POST /v1/studies/{name}/onnx does.")
    return row


def files(session: Session, study: StudyRow, row: AssignmentRow) -> dict[str, FileRef]:
    """Return the files that an export reads, under the names that they have in its message."""
    return {} if row.packed is None else {"packed": row.packed}


def recorded(store: FileStore, row: AssignmentRow, outcome: Outcome) -> tuple[TrialState, dict[str, Any]]:
    """Return the state and the columns of a held export that its worker says is complete.

    Raises:
        Invalid: its archive is not whole in the store.
    """
    found = outcome.onnx
    if found is None:
        return TrialState.FAILED, {"reason": Reason.ERROR, "error": NO_RESULT}
    store.require(row.study_id, row.id, found.file)
    return TrialState.COMPLETE, {"best": found.file, "value": found.difference, "step": found.rows}


def delete(core: Core, name: str) -> None:
    """Delete a study's exports in any state: a worker that has one is told to drop it. Raises NotFound."""
    with core.database.transaction() as session:
        study = study_rows.lock(session, name)
        rows = list(session.scalars(_of_study(study.id)))
        for row in rows:
            core.leases.remove(session, row)
    for row in rows:
        core.store.remove_assignment(row.study_id, row.id)
    if not rows:
        raise NotFound(f"{name} has no ONNX file to delete.")


def _is_of(row: AssignmentRow, trial: int, model: StoredModel) -> bool:
    """Return whether an export is that of the packed winner, of that trial; one that was packed anew is another."""
    return row.number == trial and row.packed is not None and row.packed.sha256 == model.sha256


def _of_study(study_id: int) -> Select[AssignmentRow]:
    return select(AssignmentRow).where(AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.ONNX)
