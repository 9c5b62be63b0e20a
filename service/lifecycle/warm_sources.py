"""The studies that specs name under `warm_start`: their best configurations, written out in the spec once it is stored.

The routes of studies, plans and schedules call it in the transaction that looks the other study up. From then on the
spec alone says what runs first: the other study may go on, be extended or be deleted.
"""

from pydantic import ValidationError
from sqlalchemy.orm import Session

from luthier.service.errors import Invalid, NotFound
from luthier.service.lifecycle import confirmation, study_rows
from luthier.service.schemas import Fault
from luthier.studies.best_of_study import BestTrial
from luthier.studies.old_trials import OldTrial, Predecessor
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec
from luthier.studies.translation import best_trials, shares_nothing

READ = 1_000  # of the best trials, among which as many different configurations are looked for as are wanted


def written_out(session: Session, spec: StudySpec, *inside: str, before: StudySpec | None = None) -> StudySpec:
    """Return a spec with the configurations of its `warm_start` written out; one without, or with them, as it is.

    Args:
        session: the caller's transaction.
        spec: as its user gave it.
        inside: the path of the spec in the document that the user sent.
        before: the spec that it replaces, whose configurations it keeps where both name the same.

    Raises:
        Invalid: there is no such study, or nothing of it can be run first; the path says which key is wrong.
    """
    warm = spec.warm_start
    if warm is None or warm.trials is not None:
        return spec
    known = None if before is None else before.warm_start
    if known is None or (known.study, known.top) != (warm.study, warm.top):
        known = warm.model_copy(update={"trials": _best(session, spec, warm.study, inside)})
    return spec.model_copy(update={"warm_start": known})


def _best(session: Session, spec: StudySpec, name: str, inside: tuple[str, ...]) -> list[BestTrial]:
    """Return the best configurations of the study of this name, for a new spec. Raises Invalid."""

    def refused(text: str) -> Invalid:
        fault = Fault(path=".".join((*inside, "warm_start.study")), message=text)
        return Invalid(str(fault), [fault])

    try:
        study = study_rows.find(session, name)
    except NotFound as error:
        cure = "Name a study of this project (`luthier list`), or leave warm_start out"
        raise refused(f"{error.detail} {cure}") from None
    if not study.is_readable or not isinstance(study.inspection, Inspection):
        raise refused(f"{name} has not come to its first trial: wait until it has, or leave warm_start out")
    source = study.spec
    if source.task != spec.task:
        cure = f"name a study of the task {spec.task}, or write configurations as from: {{trials: [{{params: ...}}]}}"
        raise refused(f"{name} does another task ({source.task}), and what was best there says little here: {cure}")
    if shares_nothing(spec, source):
        theirs = ", ".join(source.space.free()) or "nothing"
        text = f"{name} searched {theirs}, and this space has none of that as a range or choices"
        raise refused(f"{text}, so that its configurations would all be the baseline: leave warm_start out")
    best = confirmation.best_trials(session, study, READ)
    old = [OldTrial(number=row.number, params=row.params, value=row.value) for row in best]
    if not old:
        raise refused(f"{name} has no complete trial yet: wait for its first one, or leave warm_start out")
    predecessor = Predecessor(study=name, id=study.id, spec=source, inspection=study.inspection, test_looks=0)
    try:
        return best_trials(spec, predecessor, old)
    except ValidationError:
        raise refused(f"{name} was stored by another version, whose space means nothing here: leave it out") from None
