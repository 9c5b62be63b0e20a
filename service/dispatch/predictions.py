"""Predictions: a user's table, answered by a study's winner. Each is an assignment of the kind `predict`.

The routes queue, list and delete them; `claims.py` asks for the files of one, `outcomes.py` records its end. The winner
is linked into the prediction's folder, so a study that goes on and finds another one does not change what was asked.
"""

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.errors import Conflict, Invalid, NotFound
from luthier.service.lifecycle import study_rows
from luthier.service.lifecycle.packed_winner import packed_winner
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.file_store import MODEL, FileStore
from luthier.service.storage.incoming import Incoming
from luthier.service.storage.tables import AssignmentRow, PredictionRow, StudyRow
from luthier.studies.protocol import AssignmentKind, StudyState
from luthier.studies.results import Prediction
from luthier.studies.wire import FileRef

ENDINGS = {
    "csv": ("text/csv", "application/csv"),
    "tsv": ("text/tab-separated-values",),
    "jsonl": ("application/jsonl", "application/x-ndjson", "application/x-jsonlines"),
    "json": ("application/json",),
    "parquet": ("application/vnd.apache.parquet", "application/x-parquet"),
    "arrow": ("application/vnd.apache.arrow.file",),
}
"""The ending of a table's name -> the media types that mean it."""
NO_RESULT = "The worker ended without predictions."
TABLE = "table"  # the name of a table in the store, before its ending
RETRIED = "send the table again"


def winner_of(study: StudyRow, use: str = "predict with") -> tuple[StoredModel, int]:
    """Return the packed model that a study has, which may be an earlier winner's, and its trial. Raises Conflict."""
    if study.external:
        why = f"{study.name} has no model here: its trainer is its user's own, and keeps its models itself"
        raise Conflict(f"{why}; {use} the model of its best trial there.")
    packed = packed_winner(study)
    if packed is None:
        why = f"{study.name} has no winner to {use}: it is {study.state}"
        if study.state in (StudyState.FAILED, StudyState.CANCELLED):
            raise Conflict(f"{why}, and no winner comes any more; run a study that completes.")
        raise Conflict(f"{why}, and the winner is packed when it has ended; try again then.")
    if packed.trial is None:
        why = f"The model of {study.name} is of an end before an older version extended it, and its trial is not known"
        raise Conflict(
            f"{why}: predict once the study has ended anew, or with the model (`luthier model {study.name}`)."
        )
    return packed.model, packed.trial


def queue(core: Core, name: str, table: Incoming, ending: str) -> int:
    """Queue the prediction of a table that has arrived, and return its id. All of it happens, or nothing.

    Args:
        core: database, leases and store.
        name: the study's.
        table: the table.
        ending: of its name, which says its kind: csv, for example.

    Raises:
        NotFound: there is no such study.
        Conflict: it has no winner.
        Invalid: the table has been removed meanwhile, or is empty.
    """
    if not table.bytes:
        raise Invalid("The table is empty: the body has no bytes. Send a file with a row at least.")
    with core.database.transaction() as session:
        study = study_rows.lock(session, name)
        model, trial = winner_of(study)
        numbers = select(func.max(AssignmentRow.number)).where(
            AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.PREDICT
        )
        number = (session.scalar(numbers) or 0) + 1
        now = core.database.time(session)
        params = session.get_one(AssignmentRow, model.assignment).params
        row = core.leases.queue(session, study, AssignmentKind.PREDICT, number, params, study.spec.seed, now)
        source = FileRef(name=f"{TABLE}.{ending}", sha256=table.sha256, bytes=table.bytes)
        packed = FileRef(name=MODEL, sha256=model.sha256, bytes=model.bytes)
        session.add(PredictionRow(assignment_id=row.id, trial=trial, source=source, packed=packed))
        try:
            core.store.link(table.place, core.store.place(study.id, row.id, source.name))
        except NotFound:
            raise Invalid(f"The table took too long to arrive, and was removed; {RETRIED}.") from None
        core.store.link(
            core.store.place(study.id, model.assignment, model.name), core.store.place(study.id, row.id, packed.name)
        )
        return row.id


def files(session: Session, study: StudyRow, row: AssignmentRow) -> dict[str, FileRef]:
    """Return the files that a prediction reads, under the names that they have in its folder."""
    prediction = session.get_one(PredictionRow, row.id)
    return {"packed": prediction.packed, "table": prediction.source}


def record(session: Session, store: FileStore, row: AssignmentRow, result: Prediction) -> None:
    """Write the result of a prediction that is still held. Raises Invalid where its file is not whole in the store."""
    store.require(row.study_id, row.id, result.file)
    session.get_one(PredictionRow, row.id).result = result


def remove_inputs(store: FileStore, row: AssignmentRow) -> None:
    """Remove the table and the model from the folder of a prediction that has ended; log and result stay."""
    store.remove(store.place(row.study_id, row.id, MODEL))
    for ending in ENDINGS:
        store.remove(store.place(row.study_id, row.id, f"{TABLE}.{ending}"))


def find(session: Session, name: str, prediction_id: int) -> AssignmentRow:
    """Return the assignment of a study's prediction. Raises NotFound."""
    study = study_rows.find(session, name)
    row = session.scalar(of_study(study.id).where(AssignmentRow.id == prediction_id))
    if row is None:
        raise NotFound(f"{name} has no prediction {prediction_id}.")
    return row


def of_study(study_id: int) -> Select[AssignmentRow]:
    """Return the query of a study's predictions."""
    return select(AssignmentRow).where(AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.PREDICT)


def delete(core: Core, name: str, prediction_id: int) -> None:
    """Delete a prediction with its files, whatever its state: a worker that has it is told to drop it.

    Raises:
        NotFound: there is none.
    """
    with core.database.transaction() as session:
        study_rows.lock(session, name)
        row = find(session, name, prediction_id)
        core.leases.remove(session, row)
    core.store.remove_assignment(row.study_id, row.id)
