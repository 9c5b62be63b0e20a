"""The page of a winner's tables: by class, confusion, calibration, residuals, the examples to look at, its card.

The tables are those that REST answers with; pictures are SVG, as curves are.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from luthier.service.api import results
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.site.page import PageRoute, show
from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import study_rows
from luthier.studies.archives import ArchiveError, read_member
from luthier.studies.winner_tables import Calibration, Confusion, Residuals, SplitResults

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}/results")
CARD = "README.md"  # in a model's archive
MOST_CARD_BYTES = 2**18
SHADES = 9  # of a confusion's cells: from 0, nothing, to this, all of a row


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix, shaded by its share of the row."""

    count: int
    shade: int


@dataclass(frozen=True)
class Plot:
    """A picture of points in a square of 100 by 100: dots, perhaps a line through them, and the ends of both axes."""

    dots: str
    line: str
    low: float
    high: float


@dataclass(frozen=True)
class Split:
    """A split's tables as the page shows them."""

    name: str
    tables: SplitResults
    confusion: list[list[Cell]]
    calibration: Plot | None
    residuals: Plot | None


@router.get("")
def page(name: str, request: Request, service: ServiceDep) -> HTMLResponse:
    """Show the tables of a study's winner, or why there are none. Raises NotFound."""
    values: dict[str, Any] = {"name": name, "found": None, "splits": [], "card": "", "why": None}
    try:
        found = results.results(name, service)
    except Conflict as reason:
        return show(request, "results.html", **(values | {"why": reason.detail}))
    both = (("test", found.test), ("validation", found.validation))
    splits = [_split(kind, tables) for kind, tables in both if tables is not None]
    return show(request, "results.html", **(values | {"found": found, "splits": splits, "card": _card(name, service)}))


def _split(name: str, tables: SplitResults) -> Split:
    confusion = [] if tables.confusion is None else _shaded(tables.confusion)
    calibration = None if tables.calibration is None else _calibration(tables.calibration)
    return Split(name, tables, confusion, calibration, _residuals(tables.residuals))


def _shaded(confusion: Confusion) -> list[list[Cell]]:
    totals = [max(sum(row), 1) for row in confusion.counts]
    return [
        [Cell(count, round(SHADES * count / total)) for count in row]
        for row, total in zip(confusion.counts, totals, strict=True)
    ]


def _calibration(calibration: Calibration) -> Plot:
    """Return the share of right answers by their mean probability."""
    told = [(one.confidence, one.accuracy) for one in calibration.bins]
    points = [f"{100 * x:.1f},{100 - 100 * y:.1f}" for x, y in told if x is not None and y is not None]
    return Plot(_dots(points), f"M{'L'.join(points)}" if points else "", 0, 1)


def _residuals(residuals: Residuals | None) -> Plot | None:
    """Return true and predicted numbers as dots, on one scale for both; None where there are none."""
    if residuals is None or not residuals.points:
        return None
    values = [value for point in residuals.points for value in point]
    low, high = min(values), max(values)
    scale = 100 / ((high - low) or 1.0)
    points = [f"{scale * (x - low):.1f},{100 - scale * (y - low):.1f}" for x, y in residuals.points]
    return Plot(_dots(points), "", low, high)


def _dots(points: Iterable[str]) -> str:
    """Return a path of lines without a length, which round ends make dots of."""
    return "".join(f"M{point}h0" for point in points)


def _card(name: str, service: Service) -> str:
    """Return the card of a study's packed model; "" where it cannot be read. Only its beginning is unpacked."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
    if study.model is None:
        return ""
    store = service.core.store
    with suppress(NotFound, ArchiveError):
        with store.open(store.place(study.id, study.model.assignment, study.model.name)) as packed:
            card = read_member(packed, CARD, MOST_CARD_BYTES)
        return (card or b"").decode(errors="replace")
    return ""
