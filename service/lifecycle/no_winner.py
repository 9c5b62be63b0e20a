"""Why no trial of a study ran to its end, in sentences: how many ended in which way, and the cure of each.

`transitions.py` calls it where a study ends without a winner. Nothing is changed here.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import AssignmentKind, Reason, TrialState
from luthier.studies.spec import StudySpec
from luthier.studies.text import one_line

KINDS = 4  # that are told, the commonest first
EXTERNAL = {  # reason -> how trials of the user's own trainer ended, and the cure
    Reason.DIVERGED: "had a score that is no finite number (narrow the space, say its learning rate)",
    Reason.OOM: "did not fit in memory (narrow the space, say its batch size)",
    Reason.TIMEOUT: "took too long for the trainer that told them",
    Reason.LOST_WORKER: "lost their trainer too often: no report came within the lease (ask for a longer one)",
}


def why_no_winner(session: Session, study: StudyRow) -> str:
    """Return the sentences that say why a study has no trial that ran to its end."""
    is_trial = (AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted)
    count = func.count()
    kinds = select(AssignmentRow.state, AssignmentRow.reason, count).where(*is_trial)
    by_kind = session.execute(kinds.group_by(AssignmentRow.state, AssignmentRow.reason).order_by(count.desc())).all()
    total = sum(number for _, _, number in by_kind)
    if not total:
        return "No trial was started."
    told = [_told(study, state, reason, number) for state, reason, number in by_kind[:KINDS]]
    text = f"No trial ran to its end. Of {total} {'trial' if total == 1 else 'trials'}, {'; '.join(told)}."
    errors = select(AssignmentRow.error, func.min(AssignmentRow.number)).where(*is_trial)
    errors = errors.where(AssignmentRow.error.is_not(None)).group_by(AssignmentRow.error)
    commonest = session.execute(errors.order_by(count.desc(), func.min(AssignmentRow.number)).limit(1)).first()
    if commonest is None:
        return text
    error, number = commonest
    line = next(iter((error or "").strip().splitlines()), "")
    return f"{text} The commonest error (of trial {number}): {one_line(line)}"


def _told(study: StudyRow, state: str, reason: str | None, number: int) -> str:
    """Return how `number` trials ended, and the cure."""
    spec = study.spec
    if study.external and reason in EXTERNAL:
        return f"{number} {EXTERNAL[Reason(reason)]}"
    if reason == Reason.DIVERGED:
        return f"{number} diverged, their loss became NaN or infinite ({_lower_learning_rate(spec)})"
    if reason == Reason.OOM:
        return f"{number} did not fit in memory, even one example at a time ({_less_memory(spec)})"
    if reason == Reason.TIMEOUT:
        limit = spec.budget.trial_seconds
        shown = "" if limit is None else f", which is {limit:g}"
        return f"{number} took too long (raise budget.trial_seconds{shown}, or lower space.epochs)"
    if reason == Reason.LOST_WORKER:
        return f"{number} lost their workers too often (the workers' logs say why; a system out of memory kills them)"
    if reason == Reason.BAD_DATA:
        return f"{number} could not use the model or the data (the error below says where)"
    if state == TrialState.PRUNED:
        return f"{number} were ended early by the pruner (take pruner.name: none, or a later one)"
    if state == TrialState.CANCELLED:
        return f"{number} had not started (raise the budget)"
    if state == TrialState.COMPLETE:
        return f"{number} had no score that can be compared"
    return f"{number} failed with an error (`luthier logs {study.name} N` shows trial N)"


def _lower_learning_rate(spec: StudySpec) -> str:
    name = "learning_rate"
    d = dict(spec.space.items()).get(name)
    if isinstance(d, Range):
        return f"lower space.learning_rate.high, which is {d.high:g}"
    if isinstance(d, tuple):
        return f"leave the largest out of space.learning_rate, which goes up to {max(map(float, d)):g}"
    value = complete({}, spec.task_info.baseline)[name] if d is None else d
    return f"lower space.learning_rate, which is {value:g}"


def _less_memory(spec: StudySpec) -> str:
    shorter = "" if "max_length" in spec.task_info.refuses else "lower space.max_length, "
    return f"{shorter}raise space.freeze_depth, take space.strategy: lora or a smaller model"
