"""A study's winner: the best trial, its repetitions on fresh seeds, and the weights that are kept.

Called once no trial of the study runs any more, by `transitions.settle`, and by every caller that needs the winner's
weights. The caller holds the study's row where something is queued.
"""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from luthier.service.lifecycle import confirmation, retraining
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.noise import Noise, judged
from luthier.studies.protocol import ENDED, AssignmentKind, TrialState
from luthier.studies.results import BaselineScores, Evaluation, Inspection
from luthier.studies.semantics import NOISE_MEASURED
from luthier.studies.verdict import no_better


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


def verdict(study: StudyRow, best: AssignmentRow | None) -> str | None:
    """Return the sentence that an ended study's winner is no better than the most frequent answer.

    None where it is better, and where an older version inspected the study.

    Args:
        study: its row, which may be damaged.
        best: the trial that won.
    """
    majority = study.inspection.majority if isinstance(study.inspection, Inspection) else None
    if majority is None or best is None or best.value is None:
        return None
    return no_better(study.spec, majority, best.value, study.test if best.number == study.winner else None)


def noise(study: StudyRow, evaluation: Evaluation) -> Noise | None:
    """Return how exact the scores of a locked study are, once its winner is measured, and of what its weights are.

    None where it was measured without: by the semantics, or by a worker of an earlier version.
    """
    sampling = evaluation.sampling
    if sampling is None:
        return None
    if study.winner == 0:  # the baseline itself, or a repetition of it
        baseline = sampling.baseline or BaselineScores(test=evaluation.test, interval=sampling.interval)
        found = Noise(standard_error=sampling.standard_error, interval=sampling.interval, baseline=baseline)
        return found.model_copy(update={"average": evaluation.average})
    rows = study.inspection.rows if study.inspection is not None else {}
    before = study.noise if isinstance(study.noise, Noise) else None
    found = judged(study.spec, sampling, evaluation.test, before, rows.get("test", 0))
    return found.model_copy(update={"average": evaluation.average})


def ids_to_keep(session: Session, study: StudyRow) -> set[int]:
    """Return the ids of the assignments whose weights are, or may yet become, the winner's."""
    beside = baseline_to_measure(session, study)
    if study.winner is not None:
        source = winning_assignment(session, study)
        others = others_to_average(session, study, source)
        return {row.id for row in (source, beside, *others) if row is not None}
    best = best_trial(session, study)
    candidates = confirmation.candidates(session, study)
    repetitions = [candidate.best_repetition(study.spec.maximize) for candidate in candidates]
    if study.spec.confirm is not None and study.spec.confirm.average:
        repetitions += [row for candidate in candidates for row in candidate.repetitions if row.value is not None]
    again = retraining.with_weights(session, study.id)
    return {row.id for row in (best, *repetitions, *again, beside) if row is not None}


def others_to_average(session: Session, study: StudyRow, source: AssignmentRow) -> list[AssignmentRow]:
    """Return the winner's other repetitions with weights, best first, that are to be averaged with its own.

    Once the winner is measured nothing is to be averaged any more.

    Args:
        session: the caller's transaction.
        study: the study.
        source: the assignment that has the winner's weights.
    """
    confirm = study.spec.confirm
    if confirm is None or not confirm.average or source.kind != AssignmentKind.CONFIRM or study.model is not None:
        return []
    found = [
        row
        for candidate in confirmation.candidates(session, study)
        if candidate.trial.number == study.winner
        for row in candidate.repetitions
        if row.id != source.id and row.state == TrialState.COMPLETE and row.best is not None and row.value is not None
    ]
    sign = -1 if study.spec.maximize else 1
    return sorted(found, key=lambda row: (sign * (row.value or 0.0), row.number))


def baseline_to_measure(session: Session, study: StudyRow) -> AssignmentRow | None:
    """Return the baseline whose weights are to be scored beside the winner's; None where it has none, or need not be.

    Once the winner is measured, and where it never will be, nothing is to be measured any more.
    """
    will_be_measured = study.state not in ENDED or study.winner is not None
    if study.spec.semantics < NOISE_MEASURED or study.model is not None or not will_be_measured:
        return None
    return session.scalar(
        select(AssignmentRow).where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.number == 0,
            AssignmentRow.state == TrialState.COMPLETE,
            AssignmentRow.best.is_not(None),
        )
    )


def queue_repetitions(session: Session, leases: Leases, study: StudyRow) -> bool:
    """Queue the repetitions that a locked study's best configurations lack, as `confirm` in its spec asks for.

    Returns:
        False where the spec asks for none, or none is lacking: they were queued before.
    """
    candidates = confirmation.candidates(session, study)
    if study.spec.confirm is None:
        return False
    lacking = [
        (candidate.trial, seed)
        for candidate in candidates
        for seed in confirmation.repetition_seeds(study.spec, candidate.trial)
        if all(row.seed != seed for row in candidate.repetitions)
    ]
    highest = select(func.max(AssignmentRow.number)).where(
        AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.CONFIRM
    )
    last = session.scalar(highest)
    first = 0 if last is None else max(last, -1) + 1
    now = leases.database.time(session)
    for number, (trial, seed) in enumerate(lacking, first):
        leases.queue(session, study, AssignmentKind.CONFIRM, number, trial.params, seed, now)
    return bool(lacking)


def queue_evaluation(session: Session, leases: Leases, study: StudyRow) -> str | None:
    """Name a locked study's winner in its row, and queue the evaluation of the winner's weights.

    A winner whose weights are gone is trained again first; where that leaves none either, the next best is taken. The
    study's note says so.

    Returns:
        None; or why no trial has weights, as a sentence: then `winner` is the best trial, and nothing is queued.
    """
    choices = _choices(session, study)
    tried = session.scalar(present_evaluation(study.id).with_for_update())
    trial, weights = choices[0]
    was_removed = trial.taken_from is not None or study.first_budget is not None or _had_a_better(session, study)
    if tried is None and (weights.best is not None or not was_removed):
        _name(study, *choices[0])
        _queue(session, leases, study, choices[0][1])
        return None
    return _choose_again(session, leases, study, choices, tried)


def present_evaluation(study_id: int) -> Select[AssignmentRow]:
    """Return the query for the evaluation of a study's present end; those before an extension have other numbers."""
    return select(AssignmentRow).where(
        AssignmentRow.study_id == study_id,
        AssignmentRow.kind == AssignmentKind.EVALUATE,
        AssignmentRow.number == 0,
    )


def _queue(session: Session, leases: Leases, study: StudyRow, weights: AssignmentRow) -> None:
    now = leases.database.time(session)
    leases.queue(session, study, AssignmentKind.EVALUATE, 0, weights.params, weights.seed, now)


def _had_a_better(session: Session, study: StudyRow) -> bool:
    """Return whether a trial was deleted: while it was the best one, only its weights were kept."""
    deleted = select(AssignmentRow.id).where(AssignmentRow.study_id == study.id, AssignmentRow.deleted)
    return session.scalar(deleted.limit(1)) is not None


def _choose_again(
    session: Session,
    leases: Leases,
    study: StudyRow,
    choices: Sequence[tuple[AssignmentRow, AssignmentRow]],
    evaluation: AssignmentRow | None,
) -> str | None:
    """Queue the evaluation again, of the first choice that has weights, or first the retraining of that choice.

    `evaluation` is the one that has failed. None: the weights of the best trial were removed, as they were not the
    winner's at an end before, or another trial was the best one until it was deleted; or they were not taken over.

    Returns:
        As `queue_evaluation` does.
    """
    without: list[AssignmentRow] = []  # trials that have no weights, also after a retraining
    for trial, source in choices:
        again = retraining.find(session, source) if source.best is None else None
        if source.best is None and again is None:
            retraining.queue(session, leases, study, source)
            study.note = f"{_lost(without, trial)} It is trained again from its seed."
            return None
        weights = source if again is None else again
        if retraining.has_weights(weights):
            if again is not None:
                study.note = f"{_lost(without, trial)} It was trained again from its seed."
            _name(study, trial, weights)
            if evaluation is None:
                _queue(session, leases, study, weights)
            else:
                leases.requeue(session, evaluation)
                evaluation.params, evaluation.seed = weights.params, weights.seed
            return None
        without.append(trial)
        error = weights.error
    study.winner = without[0].number
    return f"{_lost((), without[0])} {_none_left(without)}: {error or 'they are damaged too.'}"


def _choices(session: Session, study: StudyRow) -> list[tuple[AssignmentRow, AssignmentRow]]:
    """Return the trials that may win, best first, each with the trial or repetition whose weights count.

    The best trial wins unless the repetitions decide otherwise.
    """
    pick = confirmation.pick(confirmation.candidates(session, study), study.spec.maximize)
    choices = [] if pick is None else [(pick[0].trial, pick[1])]
    for trial in confirmation.best_trials(session, study, retraining.MOST_TRIALS):
        if all(trial.id != chosen.id for chosen, _ in choices):
            choices.append((trial, trial))
    return choices


def _lost(without: Sequence[AssignmentRow], trial: AssignmentRow) -> str:
    """Return the sentences that say why `trial` has to be trained again: the best one, or one after those `without`."""
    first = next(iter(without), trial)
    text = f"The weights of trial {first.number} were damaged or missing in the service's store."
    if first.taken_from is not None:
        text = f"Trial {first.number} was taken over from {first.taken_from.get('study')} without its weights."
    return text + (f" {_none_left(without)}; trial {trial.number} is the next best." if without else "")


def _none_left(without: Sequence[AssignmentRow]) -> str:
    *others, last = [str(row.number) for row in without]
    which = f"trials {', '.join(others)} and {last}" if others else f"trial {last}"
    return f"Training {which} again left none"


def _name(study: StudyRow, trial: AssignmentRow, weights: AssignmentRow) -> None:
    """Make a trial the winner of a locked study; `weights`: it, or its repetition or retraining that is measured."""
    study.winner = trial.number
    study.winner_confirmation = weights.number if weights.kind == AssignmentKind.CONFIRM else None
