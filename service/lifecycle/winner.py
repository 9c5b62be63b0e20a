"""A study's winner: the best trial, its repetitions on fresh seeds, and the weights that are kept.

Called once no trial of the study runs any more, by `transitions.settle`, and by every caller that needs the winner's
weights. The caller holds the study's row where something is queued.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import confirmation
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind
from luthier.studies.spec import trial_seed


def best_trial(session: Session, study: StudyRow) -> AssignmentRow | None:
    """Return the complete trial with the best value, the earliest of equals; None where no trial has a value."""
    return next(iter(confirmation.best_trials(session, study, 1)), None)


def winning_assignment(session: Session, study: StudyRow) -> AssignmentRow:
    """Return the assignment whose weights are the winner's: the trial, or a repetition of it.

    Raises:
        NoResultFound: the study has no winner yet.
    """
    kind, number = AssignmentKind.TRAIN, study.winner
    if study.winner_confirmation is not None:
        kind, number = AssignmentKind.CONFIRM, study.winner_confirmation
    statement = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id, AssignmentRow.kind == kind, AssignmentRow.number == number
    )
    return session.scalars(statement).one()


def ids_to_keep(session: Session, study: StudyRow) -> set[int]:
    """Return the ids of the assignments whose weights are, or may yet become, the winner's."""
    if study.winner is not None:
        return {winning_assignment(session, study).id}
    best = best_trial(session, study)
    candidates = confirmation.candidates(session, study)
    repetitions = [candidate.best_repetition(study.spec.maximize) for candidate in candidates]
    return {row.id for row in (best, *repetitions) if row is not None}


def queue_repetitions(session: Session, leases: Leases, study: StudyRow) -> bool:
    """Queue the repetitions of a locked study's best configurations, as `confirm` in its spec asks for.

    Returns:
        False where the spec asks for none, or they were queued before.
    """
    confirm = study.spec.confirm
    candidates = confirmation.candidates(session, study)
    if confirm is None or any(candidate.repetitions for candidate in candidates):
        return False
    now = leases.database.time(session)
    for rank, candidate in enumerate(candidates):
        trial = candidate.trial
        for i in range(confirm.seeds):
            seed = trial_seed(study.spec.seed, trial.number, again=i + 1)
            number = rank * confirm.seeds + i
            leases.queue(session, study, AssignmentKind.CONFIRM, number, trial.params, seed, now)
    return True


def queue_evaluation(session: Session, leases: Leases, study: StudyRow, best: AssignmentRow) -> None:
    """Name a locked study's winner in its row, and queue the evaluation of the winner's weights.

    Args:
        session: the caller's transaction.
        leases: where the evaluation is queued.
        study: its row.
        best: the best trial, which wins unless the repetitions decide otherwise.
    """
    pick = confirmation.pick(confirmation.candidates(session, study), study.spec.maximize)
    trial, source = best, best
    if pick is not None:
        trial, source = pick[0].trial, pick[1]
        study.winner_confirmation = source.number
    study.winner = trial.number
    now = leases.database.time(session)
    leases.queue(session, study, AssignmentKind.EVALUATE, 0, source.params, source.seed, now)
