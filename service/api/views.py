"""Views of studies: functions from their rows to the schemas of REST.

Routes call them inside their transaction. They read rows, and change none. Those of trials are in `trial_views.py`,
those of workers and tasks in `fleet_views.py`, those of schedules in schedules/views.py.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean

from sqlalchemy.orm import Session

from luthier.service.api.cost_views import model_costs
from luthier.service.api.model_view import interval_view, model_view
from luthier.service.api.successor_view import taken_over_view
from luthier.service.api.trial_views import shown_params, shown_text
from luthier.service.api.waiting_reasons import waiting_views
from luthier.service.lifecycle import absences, failing_studies, going_on, labels, winner
from luthier.service.lifecycle.standings import Standing, standings
from luthier.service.schemas import (
    BaselineView,
    BestView,
    ConfirmedView,
    Counts,
    DataView,
    GainView,
    MajorityView,
    StudyView,
)
from luthier.service.storage import damaged
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.times import instant
from luthier.studies.findings import warnings_of
from luthier.studies.noise import Noise, remark
from luthier.studies.protocol import ENDED, StudyState
from luthier.studies.results import Inspection
from luthier.studies.text import one_line
from luthier.studies.wire import TEXT_CHARACTERS, cut

log = logging.getLogger("luthier")


def study_views(
    session: Session, studies: Sequence[StudyRow], problem: str | None = None, fleet_problem: str | None = None
) -> list[StudyView]:
    """Return the studies with their counts, best trial, baseline and model, in the given order.

    The number of queries does not depend on the number of studies. A row that cannot be shown whole is shown with its
    name and the reason.

    Args:
        session: the transaction to read in.
        studies: their rows.
        problem: why no study of the service goes on now, for the warnings of those that have not ended.
        fleet_problem: likewise why none of those does that our own workers do.
    """
    standing = standings(session, studies)
    waiting = waiting_views(session, studies, problem)
    gains = going_on.expected_gains(session, studies)
    views = []
    for study in studies:
        try:
            view = _study(study, standing[study.id])
        except damaged.UNREADABLE as error:
            view = _damaged_study(study, error)
        view.waiting = waiting.get(study.id)
        view.expected_gain = gains.get(study.id)
        for why in (problem, None if study.external else fleet_problem):
            if why is not None and view.finished_at is None:
                view.warnings.append(why)
        views.append(view)
    return views


def study_view(
    session: Session, study: StudyRow, problem: str | None = None, fleet_problem: str | None = None
) -> StudyView:
    """Return a study as `study_views` does, with what its inspection found of the data, which listings leave out."""
    view = study_views(session, [study], problem, fleet_problem)[0]
    inspection = study.inspection
    if isinstance(inspection, Inspection) and not study.external:
        view.data = data_view(inspection)
        view.costs = model_costs(session, study)
    view.taken_over = taken_over_view(session, study)
    return view


def data_view(inspection: Inspection) -> DataView:
    """Return what an inspection found of the data."""
    probes = [model.probe for model in inspection.models]
    return DataView(
        rows=inspection.rows,
        labels=inspection.labels,
        max_length=inspection.max_length,
        findings=inspection.findings,
        probes=probes if any(probes) else [],
    )


def _study(study: StudyRow, standing: Standing) -> StudyView:
    best = standing.best[0] if standing.best else None
    if study.winner is not None and best is not None:  # its repetitions may have done better than the best trial's
        best = standing.named.get(study.winner)
    baseline = standing.named.get(0)
    return StudyView(
        name=study.name,
        project=study.project,
        state=StudyState(study.state),
        created_at=datetime.fromtimestamp(study.created_at, UTC),
        finished_at=instant(study.finished_at),
        spec=study.spec.model_dump(mode="json"),
        counts=Counts(**standing.counts),
        taken_trials=standing.taken,
        best=None if best is None else _best(study, best),
        confirmed=[
            ConfirmedView(trial=candidate.trial.number, values=candidate.values, mean=fmean(candidate.values))
            for candidate in standing.candidates
            if candidate.values
        ],
        baseline=None if baseline is None else _baseline(study, baseline),
        majority=_majority(study),
        model=model_view(study),
        gpu_seconds=round(standing.gpu_seconds, 3),
        error=shown_text(study.error),
        message=_message(study),
        warnings=_warnings(study, best),
        parallel=study.parallel,
        tags=labels.tags_of(study),
        notes=study.notes or "",
        weight=study.weight,
        priority=study.priority,
        etag=labels.study_etag(study),
    )


def _warned(study: StudyRow) -> list[str]:
    """Return the warnings of its inspection; nothing where there is none, or it cannot be read."""
    inspection = study.inspection
    return [found.text for found in warnings_of(inspection.findings)] if isinstance(inspection, Inspection) else []


def _damaged_study(study: StudyRow, error: Exception) -> StudyView:
    """Return what can be shown of a study whose row is damaged; a state that is none shows as failed."""
    log.warning("study %d cannot be shown whole: %s", study.id, one_line(error))
    return StudyView(
        name=study.name,
        project=study.project,
        state=StudyState(study.state) if study.state in set(StudyState) else StudyState.FAILED,
        created_at=damaged.instant_or_epoch(study.created_at),
        spec=damaged.stored_object(study.spec),
        counts=Counts(),
        error=damaged.sentence(error),
    )


def _message(study: StudyRow) -> str | None:
    """Return why a study has ended or will end; of one that the service has paused, why and the cure."""
    paused = (absences.sentence(study) or failing_studies.sentence(study)) if study.state == StudyState.PAUSED else None
    return shown_text(paused or study.message)


def _warnings(study: StudyRow, best: AssignmentRow | None) -> list[str]:
    """Return what a study's user should know; what its search or workers lack is of no use once it has ended.

    Args:
        study: its row.
        best: the best trial so far; the winner, once it has ended.
    """
    ended = study.state in ENDED
    first = (
        [winner.verdict(study, best)]
        if ended
        else [absences.sentence(study), failing_studies.sentence(study), study.search_error]
    )
    return [cut(text, TEXT_CHARACTERS) for text in (*first, study.note, *_warned(study)) if text]


def _majority(study: StudyRow) -> MajorityView | None:
    majority = study.inspection.majority if isinstance(study.inspection, Inspection) else None
    if majority is None:
        return None
    value = majority.validation.get(study.spec.objective.metric)
    return MajorityView(label=majority.label, value=value, metrics=majority.validation, test=majority.test)


def _best(study: StudyRow, row: AssignmentRow) -> BestView | None:
    if row.value is None:
        return None
    best = BestView(trial=row.number, value=row.value, params=shown_params(study, row))
    if row.number != study.winner:
        return best
    best.test = study.test
    best.test_looks = study.test_looks if study.test is not None else None
    noise = study.noise
    if isinstance(noise, Noise) and study.earlier is None:  # else it is of the winner before
        best.standard_error, best.interval = noise.standard_error, interval_view(noise.interval)
        best.gain = None if noise.gain is None else GainView.model_validate(noise.gain.model_dump())
        best.average = noise.average
        best.note = remark(study.spec, noise, row.number)
    return best


def _baseline(study: StudyRow, row: AssignmentRow) -> BaselineView:
    scores = study.noise.baseline if isinstance(study.noise, Noise) else None
    if scores is None:
        return BaselineView(trial=0, value=row.value)
    return BaselineView(trial=0, value=row.value, test=scores.test, interval=interval_view(scores.interval))
