"""Views of trials that wait for their study's inspection: they have a number, and no row of an assignment yet."""

from collections.abc import Collection, Sequence

from luthier.service.api import paging
from luthier.service.dispatch.waiting_trials import DELETED
from luthier.service.schemas import Page, TrialView
from luthier.service.storage.tables import StudyRow, WaitingRow
from luthier.studies.protocol import ENDED, Reason, TrialState
from luthier.studies.spec import trial_seed


def waiting_view(study: StudyRow, number: int, row: WaitingRow) -> TrialView:
    """Return trial `number`, which waits; it is cancelled where its user or its study's end has ended it."""
    is_over = study.state in ENDED or row.ended is not None
    return TrialView(
        number=number,
        state=TrialState.CANCELLED if is_over else TrialState.QUEUED,
        reason=Reason.STOPPED if row.ended is not None else None,
        params=row.params,
        attempt=0,
        seed=trial_seed(study.spec.seed, number) if row.seed is None else row.seed,
    )


def waiting_page(
    study: StudyRow,
    rows: Sequence[WaitingRow],
    states: Collection[str] | None,
    descending: bool,
    cursor: str | None,
    limit: int,
) -> Page[TrialView]:
    """Return a page of the trials that wait, by number: they have no other value that could order them.

    Args:
        study: their study.
        rows: all that wait, from number 1.
        states: those to show; None: all.
        descending: the last one first.
        cursor: the request's.
        limit: trials in a page.
    """
    views = [waiting_view(study, number, row) for number, row in enumerate(rows, 1) if row.ended != DELETED]
    shown = [view for view in views if not states or view.state in states]
    position = paging.decode(cursor)
    if position is not None:
        shown = [view for view in shown if (view.number < position if descending else view.number > position)]
    page = sorted(shown, key=lambda view: view.number, reverse=descending)
    following = paging.encode(page[limit - 1].number) if len(page) > limit else None
    return Page(items=page[:limit], next_cursor=following)
