"""Which of a study's queued trials a worker's machine should have first: those whose frozen part it has computed.

Claims ask, for studies that weigh the seconds of trials. The outputs of frozen blocks are kept on the machine that
computed them (`trials/prefix/shared_files.py`), so another one computes them anew. It only orders: no trial waits for a
worker.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from luthier.service.dispatch.placement import Placement
from luthier.service.storage.presence import host_of
from luthier.service.storage.service_tables import WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.storage.work_queue import Part
from luthier.studies.protocol import TRAINING
from luthier.studies.trial_costs import weighs_seconds
from luthier.studies.trial_work import Prefixes, work_of

LATEST_TRIALS = 200  # of a study: files of older ones may have made room


def cached_first(
    session: Session, rows: Sequence[AssignmentRow], part: Part, placement: Placement
) -> Sequence[AssignmentRow]:
    """Return queued trials of a study in the order in which a worker should have them: fewest blocks to compute first.

    They stay as they are where the study weighs no seconds, or only one machine has trained for it: then a search goes
    on as it would on one worker.

    Args:
        session: the claim's transaction.
        rows: queued, in their order.
        part: of the queue.
        placement: the worker.
    """
    if part is not Part.NEW or len(rows) < 2:
        return rows
    study = session.get_one(StudyRow, rows[0].study_id)
    if study.inspection is None or not weighs_seconds(study.spec) or any(row.study_id != study.id for row in rows):
        return rows
    own_host, hosts, prefixes = host_of(placement.worker, placement.host), set(), Prefixes()
    work = work_of(study.spec, study.spec.resolved_space(study.inspection), study.inspection)
    for worker, host, params in session.execute(_trained(study.id)):
        hosts.add(host_of(worker, host))
        if host_of(worker, host) == own_host and isinstance(params, dict):
            prefixes.add(work.whole(params))
    if len(hosts) < 2:
        return rows

    def missing(row: AssignmentRow) -> int:
        whole = work.whole(row.params)
        return int(whole["freeze_depth"]) - prefixes.deepest(whole)

    return sorted(rows, key=missing)


def _trained(study_id: int) -> Select[str | None, str | None, dict[str, Any]]:
    """Return the query of who trained the latest trials of a study: worker, its machine, configuration."""
    return (
        select(AssignmentRow.worker, WorkerRow.host, AssignmentRow.params)
        .outerjoin(WorkerRow, WorkerRow.name == AssignmentRow.worker)
        .where(
            AssignmentRow.study_id == study_id,
            AssignmentRow.kind.in_(TRAINING),
            AssignmentRow.worker.is_not(None),
            AssignmentRow.attempt > 0,
            AssignmentRow.taken_from.is_(None),
        )
        .order_by(AssignmentRow.id.desc())
        .limit(LATEST_TRIALS)
    )
