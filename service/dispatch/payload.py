"""The message of an assignment, which a worker gets with the lease of its work.

Called by `claims.py` in the transaction that grants the lease. No row is changed here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.caller import DEFAULT_PROJECT
from luthier.service.dispatch import baseline_files, member_files
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.placement import trial_params
from luthier.service.lifecycle import confirmation, datasets, winner
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.protocol import TRAINING, Assignment, AssignmentKind, Checkpoint
from luthier.studies.semantics import ENDS_IN_TIME
from luthier.studies.wire import FileRef

Payload = Callable[[Session, StudyRow, AssignmentRow], Mapping[str, FileRef]]
"""payload(session, study, assignment): fields of the message that only an assignment of its kind has."""


def assignment_message(
    session: Session, core: Core, study: StudyRow, row: AssignmentRow, payload: Payload | None
) -> Assignment:
    """Return the message of an assignment that was just leased.

    Args:
        session: the transaction that granted the lease.
        core: the service's lease time and file store.
        study: the assignment's study.
        row: the assignment.
        payload: makes the fields that only its kind has; None where there are none.
    """
    kind = AssignmentKind(row.kind)
    source = row
    extra: dict[str, Any] = {}
    if kind is AssignmentKind.EVALUATE:
        source = winner.winning_assignment(session, study)  # its weights are measured, in its folder
        extra = {
            "provenance": _provenance(session, study, source),
            "members": member_files.place(session, core.store, study, source),
            "baseline": baseline_files.place(session, core.store, study, source),
        }
    elif payload is not None:
        extra = dict(payload(session, study, row))
    is_inspection = kind is AssignmentKind.INSPECT
    shares_gpu = row.gpu_share is not None and row.gpu_share < 1
    return Assignment(
        id=row.id,
        kind=kind,
        token=row.token or "",
        attempt=row.attempt,
        lease_seconds=core.leases.lease_seconds_of(row),
        study=study.name,
        project=None if study.project == DEFAULT_PROJECT else study.project,
        spec=study.spec,
        store=str(core.store.folder(study.id, source.id)),
        store_mark=core.store.mark,
        number=None if is_inspection else source.number,
        params={} if is_inspection else trial_params(study, source.params),
        seed=row.seed,
        inspection=study.inspection,
        checkpoint=_checkpoint(kind, source),
        micro_batch=study.micro_batch,
        timed_seconds=row.timed_seconds if study.spec.semantics >= ENDS_IN_TIME and kind in TRAINING else 0,
        memory_bytes=row.gpu_bytes if shares_gpu else None,
        datasets=[] if kind is AssignmentKind.PREDICT else datasets.references(session, study),
        **extra,
    )


def _checkpoint(kind: AssignmentKind, row: AssignmentRow) -> Checkpoint:
    """Return where the work continues; from the start where a training has no file to continue from.

    Reports of steps that are known already are then repeats.
    """
    if (kind in TRAINING and row.resume is None) or kind is AssignmentKind.ONNX:
        return Checkpoint()
    return Checkpoint(
        step=row.resume_step, resume=row.resume, best=row.best, best_step=row.best_step, best_value=row.value
    )


def _provenance(session: Session, study: StudyRow, source: AssignmentRow) -> dict[str, Any]:
    """Return how the winner came about, for `luthier.json` in the packed model; `source` has its weights."""
    baseline = session.scalar(
        select(AssignmentRow.value).where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.number == 0,
        )
    )
    report = session.get(ReportRow, (source.id, source.best_step))
    return {
        "study": study.name,
        "trial": study.winner,
        "best_step": source.best_step,
        "validation": report.metrics if report else {},
        "baseline": {"trial": 0, "value": baseline},
        "search_params": source.params,
        "confirmed": [
            {"trial": candidate.trial.number, "values": candidate.values}
            for candidate in confirmation.candidates(session, study)
        ],
    }
