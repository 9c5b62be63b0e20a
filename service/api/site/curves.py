"""Learning curves as paths of SVG, thinned where they are read: a page shows so many points, however many there are.

A curve's points are evaluations: the step, and the score of the objective's metric. Paths are drawn in a square of 100
by 100, which the page stretches.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from luthier.service.storage.tables import AssignmentRow, ReportRow
from luthier.studies.protocol import AssignmentKind, TrialState

CURVES = 120  # in a plot, besides those that run
RUNNING = 30
POINTS = 40  # of a curve; of a longer one, evenly spaced ones and the last
SPARKS = 16  # of the small one in a table
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Line:
    """A curve in a chart: its trial, what it is, and its path."""

    label: str
    kind: str
    path: str


@dataclass(frozen=True)
class Chart:
    """Curves together, with what the axes say."""

    lines: list[Line]
    metric: str
    low: float
    high: float
    last: int
    note: str = ""


def read(
    session: Session, trials: Iterable[AssignmentRow], points: int
) -> dict[int, list[tuple[int, dict[str, float]]]]:
    """Return the evaluations of trials, by the id of their row: (step, metric -> score), about `points` of each."""
    found: dict[int, list[tuple[int, dict[str, float]]]] = {row.id: [] for row in trials}
    stride = AssignmentRow.step // points + 1
    kept = or_(ReportRow.step % stride == 0, ReportRow.step == AssignmentRow.step, ReportRow.step == 1)
    thinned = (
        select(ReportRow.assignment_id, ReportRow.step, ReportRow.metrics)
        .join(AssignmentRow, AssignmentRow.id == ReportRow.assignment_id)
        .where(ReportRow.assignment_id.in_(found), kept)
        .order_by(ReportRow.assignment_id, ReportRow.step)
    )
    for assignment_id, step, metrics in session.execute(thinned):
        found[assignment_id].append((step, metrics))
    return found


def of_metric(evaluations: Iterable[tuple[int, Mapping[str, float | None]]], metric: str) -> Points:
    """Return the points of one metric; evaluations without a score are left out."""
    return [(step, value) for step, metrics in evaluations if (value := metrics.get(metric)) is not None]


def chosen(session: Session, study_id: int, trials: int, named: Iterable[int]) -> list[AssignmentRow]:
    """Return the trials whose curves a study's page shows: those named, those that run, and evenly spaced others.

    Args:
        session: the transaction to read in.
        study_id: of the study.
        trials: how many it has.
        named: numbers of trials that are shown whatever else is.
    """
    of_study = (AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN, AssignmentRow.step > 0)
    stride = -(-trials // CURVES) or 1
    spaced = or_(AssignmentRow.number % stride == 0, AssignmentRow.number.in_(list(named)))
    there = select(AssignmentRow).where(*of_study, ~AssignmentRow.deleted)
    rows = {row.id: row for row in session.scalars(there.where(spaced))}
    running = there.where(AssignmentRow.state == TrialState.RUNNING)
    rows |= {row.id: row for row in session.scalars(running.order_by(AssignmentRow.number.desc()).limit(RUNNING))}
    return sorted(rows.values(), key=lambda row: row.number)


def chart(curves: Sequence[tuple[str, str, Points]], metric: str, note: str = "") -> Chart | None:
    """Return curves drawn together; None where none has a point.

    Args:
        curves: (label, kind, points); the last is drawn on top.
        metric: what the points are.
        note: what is left out, for people.
    """
    shown = [curve for curve in curves if curve[2]]
    values = [value for _, _, points in shown for _, value in points]
    if not values:
        return None
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    last = max(step for _, _, points in shown for step, _ in points)
    lines = [Line(label, kind, _path(points, low, high, last)) for label, kind, points in shown]
    return Chart(lines, metric, low, high, last, note)


def spark(points: Points) -> str:
    """Return the small curve of a trial, on axes of its own; "" for none."""
    if not points:
        return ""
    values = [value for _, value in points]
    return _path(points, min(values), max(values), points[-1][0])


def _path(points: Points, low: float, high: float, last: int) -> str:
    """Return a path; a single point is a short line, since a path of no length shows nothing."""
    across, up = max(last - 1, 1), (high - low) or 1.0
    placed = [(100 * (step - 1) / across, 100 - 100 * (value - low) / up) for step, value in points]
    if len(placed) == 1:
        x, y = placed[0]
        placed = [(max(x - 1, 0), y), (min(x + 1, 100), y)]
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in placed)
