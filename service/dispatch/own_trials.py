"""A user's own configurations, queued as trials of a study before Optuna draws any further; and trials that run again.

The API and the schedules call `enqueue`. It takes the same turn as a claim that draws a trial, so numbers stay dense.
Before a study's inspection a configuration waits (`waiting_trials.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from luthier.service.dispatch import waiting_trials
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.failed_draws import note_failed_draw
from luthier.service.dispatch.requests import Drawn, Request, answered
from luthier.service.dispatch.search_faults import Doing, error_text
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, Problem, Unavailable
from luthier.service.lifecycle import study_rows
from luthier.service.lifecycle.budget import TrialCounts
from luthier.service.storage.database import is_passing
from luthier.service.storage.tables import StudyRow, WaitingRow
from luthier.service.storage.turns import Turns
from luthier.studies.protocol import ENDED, StudyState
from luthier.studies.search.search import Search


@dataclass(frozen=True)
class Added:
    """The trial of a request.

    Attributes:
        number: its number.
        is_new: whether this request made it; False: an earlier one with the same key, or an earlier retry.
    """

    number: int
    is_new: bool = True


@dataclass(frozen=True)
class _Turn:
    """What a request that has a study's turn has found in its rows."""

    token: str
    request: Request  # in the space's types
    first: int  # the first number that our rows lack
    room: int | None  # trials that the budget has left; None: no limit
    waiting: Sequence[WaitingRow]


def enqueue(core: Core, name: str, request: Request) -> Added:
    """Queue a user's own configuration as the study's next trial, within its budget.

    Args:
        core: the service's parts.
        name: the study's name.
        request: values for dimensions of the study's space. With a seed the study may have the configuration already.

    Raises:
        NotFound: there is no such study.
        Conflict: the study takes no trial now, its budget is used up, or it has this configuration already.
        Invalid: the request's key came with another body before.
        Unavailable: another request draws a configuration right now, or this one was too slow.
        ValidationError: the configuration is not in the space.
    """
    with core.database.reading() as session:
        study = study_rows.find(session, name)
        known = answered(session, study, request)
    if known is not None:
        return Added(known, is_new=False)
    if study.state == StudyState.QUEUED:
        with core.database.transaction() as session:
            study = study_rows.lock(session, name)
            if study.state == StudyState.QUEUED:
                return Added(*waiting_trials.accept(session, core.database, study, request))
    with core.searches.exclusive(study.id):
        return _enqueue_alone(core, name, request)


def _enqueue_alone(core: Core, name: str, request: Request) -> Added:
    """Queue a configuration as `enqueue` does; the caller is the only thread of this process that asks."""
    turns = Turns.to_ask(core.database)
    with core.database.transaction() as session:
        study = study_rows.lock(session, name)
        known = answered(session, study, request)  # by another service, meanwhile
        if known is not None:
            return Added(known, is_new=False)
        turn = _take(session, turns, study, request)
    with turns.given_back_on_error(study.id, turn.token), _noted(core, study):
        search = core.searches.prepared(study, turn.first)
        added, same, is_own = _ask_missing_then_enqueue(search, study, turn)
        with core.database.transaction() as session:
            study = study_rows.lock(session, name)
            if not turns.is_held(study, turn.token):
                raise Unavailable("The database was too slow; try again.", retry_after=1)
            turns.give_back(session, study.id, turn.token)
            study.started_at = study.started_at or core.database.time(session)
            waiting_trials.insert(session, core.leases, search, study, added, turn.first)
            waiting_trials.remove(session, turn.waiting)
    if same is not None:
        raise Conflict(f"This configuration is trial {same} of {name} already; with a seed it runs once more.")
    if not is_own:
        raise _no_room(study)
    return Added(turn.first + len(added) - 1)


def _take(session: Session, turns: Turns, study: StudyRow, request: Request) -> _Turn:
    """Take a locked study's turn for a request.

    Raises:
        Conflict: the study takes no trial.
        Unavailable: another request has the turn.
        ValidationError: the configuration is not in the space.
    """
    if study.state not in (StudyState.RUNNING, StudyState.PAUSED) or study.ending is not None:
        raise Conflict(f"{study.name} {_closed(study)}")
    counts, trials = TrialCounts.of(session, study.id), study.spec.budget.trials
    room = None if trials is None else trials - counts.spent
    if room is not None and room <= 0:
        raise _no_room(study)
    params = resolved_space(study).check(request.params, partial=True)
    token = turns.take(session, study.id)
    if token is None:
        raise Unavailable("Another configuration is being drawn right now; try again.", retry_after=1)
    first = counts.next_number
    waiting = waiting_trials.waiting(session, study.id) if first == 0 else []
    if room is not None:  # a deleted one needs none
        room += sum(row.ended == waiting_trials.DELETED for row in waiting)
    return _Turn(token, Request(params, request.seed, request.key, request.retry_of), first, room, waiting)


def _closed(study: StudyRow) -> str:
    """Return why a study takes no trial, and the cure, as the rest of a sentence."""
    if study.state in ENDED and study.inspection is None:
        return f"is {study.state} and never came to its first trial: no trial can be added. Create a new study for it."
    if study.state in ENDED:
        return f"is {study.state}: no trial can be added before it is extended (POST /v1/studies/{study.name}/extend)."
    return "is ending, its winner is being measured: no trial can be added now. Extend it once it has ended."


def _no_room(study: StudyRow) -> Conflict:
    text = f"{study.name} has had all {study.spec.budget.trials} trials of its budget"
    return Conflict(f"{text}; extend it (POST /v1/studies/{study.name}/extend), or delete a trial that has ended.")


def _ask_missing_then_enqueue(search: Search, study: StudyRow, turn: _Turn) -> tuple[list[Drawn], int | None, bool]:
    """Create in Optuna all missing trials, then the user's own configuration if it may run and has room.

    Args:
        search: the study's search, whose turn the caller holds.
        study: its row.
        turn: what is to be created.

    Returns:
        The trials to insert from number `first` on: the baseline where it is missing (trial 0), configurations that
        have waited for the inspection, trials that a crash left in Optuna only, then the user's; the number of an
        identical trial, or None; and whether the last of them is the user's. It is not if the budget has no room, or
        an identical trial exists without a seed.
    """
    request = turn.request
    added: list[Drawn] = []
    if turn.first == 0:
        added = [Drawn(search.ask(0) or {}), *waiting_trials.draw(search, study, turn.waiting)]
    while search.count() > turn.first + len(added):
        number = turn.first + len(added)
        added.append(Drawn(search.ask(number) or {}, search.own_seed(number), search.request_of(number)))
    if added and _is_same(added[-1], request):  # this very request, which a crash had cut off
        return added, None, True
    number = turn.first + len(added)
    params = search.complete(number, dict(request.params))
    same = search.find(params) if request.seed is None else None
    is_own = same is None and (turn.room is None or len(added) < turn.room)
    if is_own:
        search.enqueue(number, params, request.seed, request.notes)
        added.append(Drawn(params, request.seed, request.notes))
    return added, same, is_own


def _is_same(last: Drawn, request: Request) -> bool:
    """Return whether a trial that Optuna has was asked for by this request, of which only a seed may tell."""
    if last.notes or request.notes:
        keyed = {name: note for name, note in request.notes.items() if name != "request_digest"}
        return all(last.notes.get(name) == note for name, note in keyed.items()) and bool(keyed)
    return request.seed is not None and last.seed == request.seed and request.params.items() <= last.params.items()


@contextmanager
def _noted(core: Core, study: StudyRow) -> Iterator[None]:
    """Note what the study's search raises in the block. Raises Unavailable in its place."""
    try:
        yield
    except (Problem, ValidationError):
        raise
    except Exception as error:
        if is_passing(error):
            raise
        note_failed_draw(core, study.id, error)
        raise Unavailable(f"{Doing.DRAW}: {error_text(error)}", retry_after=5) from error
