"""Views of what trials are expected to take: by model and freeze depth, from the cost model of a study.

Plans and single studies call it. Nothing is changed here.
"""

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.schemas import ModelCosts
from luthier.service.storage import damaged
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind, TrialState
from luthier.studies.results import Inspection
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.studies.text import one_line
from luthier.studies.trial_costs import Costs, Ran, costs_before

log = logging.getLogger("luthier")

LATEST_TRIALS = 100  # of a study, that are read for its view


def planned_costs(spec: StudySpec, space: Space, inspection: Inspection) -> list[list[float]]:
    """Return for each model the seconds of a trial by its freeze depth; empty lists where nothing was estimated."""
    if inspection.estimates is None:
        return [[] for _ in spec.models]
    costs = costs_before(spec, space, inspection)
    return [_rounded(costs, model) for model in spec.models]


def model_costs(session: Session, study: StudyRow) -> list[ModelCosts]:
    """Return what the trials of an inspected study are expected to take, after those that have ended.

    Nothing, where neither the inspection nor a trial says anything.
    """
    inspection = study.inspection
    if not isinstance(inspection, Inspection) or study.external or not study.is_readable:
        return []
    try:
        trials = _ran(session, study)
        if inspection.estimates is None and all(trial.seconds is None for trial in trials):
            return []
        costs, _ = costs_before(study.spec, study.spec.resolved_space(inspection), inspection).after(trials)
    except damaged.UNREADABLE as error:  # a row that another version wrote, or a hand
        log.warning("what trials of %s take cannot be shown: %s", study.name, one_line(error))
        return []
    return [ModelCosts(model=model, seconds_per_trial=_rounded(costs, model)) for model in study.spec.models]


def _ran(session: Session, study: StudyRow) -> list[Ran]:
    """Return the latest trials of a study, in their order."""
    latest = (
        select(AssignmentRow)
        .where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.state.in_((TrialState.COMPLETE, TrialState.PRUNED)),
            AssignmentRow.taken_from.is_(None),
            AssignmentRow.losses == 0,
            AssignmentRow.step > 0,
        )
        .order_by(AssignmentRow.number.desc())
        .limit(LATEST_TRIALS)
    )
    rows = reversed(session.scalars(latest).all())
    per_epoch = study.spec.evaluations_per_epoch
    return [Ran(row.params, row.step / per_epoch, row.seconds + row.seconds_before or None) for row in rows]


def _rounded(costs: Costs, model: str) -> list[float]:
    return [round(seconds, 3) for seconds in costs.by_depth(model)]
