"""The comparison of a run's winner with the champion: its assignment and its record.

`runs.py` asks whether it has ended, `steps.py` queues it and reads its result. Functions here only read rows.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import winner
from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.promotion import ComparedModel, ComparisonContext, DataSeen
from luthier.studies.protocol import AssignmentKind, TrialState


def find_comparison(session: Session, run: RunRow, study: StudyRow) -> AssignmentRow | None:
    """Return the assignment that compares the study's winner with the run's rival, or None before it is queued."""
    conditions = (
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.COMPARE,
        AssignmentRow.champion_id == run.rival_id,
    )
    return session.scalar(select(AssignmentRow).where(*conditions))


def is_comparison_open(session: Session, run: RunRow, study: StudyRow) -> bool:
    """Return whether a comparison with the present champion is queued or runs.

    A comparison with another model does not count: after a rollback the winner is compared with the model in use.
    """
    schedule = session.get_one(ScheduleRow, run.schedule_id)
    if run.rival_id is None or run.rival_id != schedule.champion_id:
        return False
    comparison = find_comparison(session, run, study)
    return comparison is not None and comparison.state in (TrialState.QUEUED, TrialState.RUNNING)


def comparison_context(session: Session, run: RunRow, study: StudyRow, rival: ChampionRow) -> ComparisonContext:
    """Return which two models were compared, and the data that each was trained on."""
    rivals_run = session.get_one(RunRow, rival.run_id)
    rivals_study = None if rivals_run.study_id is None else session.get(StudyRow, rivals_run.study_id)
    source = winner.winning_assignment(session, study)
    return ComparisonContext.of(
        ComparedModel(run=rival.run_id, study=rival.study, trial=rival.trial, params=rival.params),
        ComparedModel(run=run.id, study=study.name, trial=study.winner or 0, params=source.params),
        _data_seen(run, study),
        _data_seen(rivals_run, rivals_study),
    )


def _data_seen(run: RunRow, study: StudyRow | None) -> DataSeen:
    """Return the data of a run; only its fingerprint if the study was deleted."""
    inspection = None if study is None else study.inspection
    counts = ({}, {}) if inspection is None else (inspection.rows, inspection.labels)
    return DataSeen(fingerprint=run.fingerprint, rows=counts[0], labels=counts[1])
