"""A user's own configurations, queued as trials of a study before Optuna draws any further.

The API and the schedules call `enqueue`. It takes the same turn as a claim that draws a trial, so numbers stay dense.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.dispatch.failed_draws import note_failed_draw
from luthier.service.dispatch.search_faults import Doing, error_text
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, Problem, Unavailable
from luthier.service.lifecycle import study_rows, transitions
from luthier.service.lifecycle.budget import TrialCounts
from luthier.service.storage.database import is_passing
from luthier.service.storage.tables import StudyRow
from luthier.service.storage.turns import Turns
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import StudyState
from luthier.studies.search.search import Search

Wanted = tuple[Params, int | None]  # a configuration, and the seed that a user gave with it


def enqueue(core: Core, name: str, params: dict[str, Any], seed: int | None = None) -> int:
    """Queue a user's own configuration as the study's next trial, within its budget, and return its number.

    Args:
        core: the service's parts.
        name: the study's name.
        params: values for dimensions of the study's space; the sampler draws the others.
        seed: of everything random in the trial; the study may then have the configuration already. None: the seed of
            the trial's number.

    Raises:
        NotFound: there is no such study.
        Conflict: the study takes no trial now, its budget is used up, or it has this configuration already.
        Unavailable: another request draws a configuration right now, or this one was too slow.
        ValidationError: the configuration is not in the space.
    """
    turns = Turns.to_ask(core.database)
    with core.database.reading() as session:
        study_id = study_rows.find(session, name).id
    with core.searches.exclusive(study_id):
        with core.database.transaction() as session:
            study = study_rows.lock(session, name)
            first, limit = _next_free_number(session, study)
            params = resolved_space(study).check(params, partial=True)
            token = turns.take(session, study.id)
            if token is None:
                raise Unavailable("Another configuration is being drawn right now; try again.", retry_after=1)
        with turns.given_back_on_error(study.id, token), _noted(core, study):
            search = core.searches.prepared(study, first)
            added, same, is_own = _ask_missing_then_enqueue(search, first, (params, seed), limit)
            with core.database.transaction() as session:
                study = study_rows.lock(session, name)
                if not turns.is_held(study, token):
                    raise Unavailable("The database was too slow; try again.", retry_after=1)
                turns.give_back(session, study.id, token)
                now = core.database.time(session)
                study.started_at = study.started_at or now
                for number, (configuration, own_seed) in enumerate(added, first):
                    transitions.queue_trial(session, core.leases, study, number, configuration, now, own_seed)
    if same is not None:
        raise Conflict(f"This configuration is trial {same} of {name} already; with a seed it runs once more.")
    if not is_own:
        raise Conflict(f"{name} has had all {study.spec.budget.trials} trials of its budget.")
    return first + len(added) - 1


def _next_free_number(session: Session, study: StudyRow) -> tuple[int, int | None]:
    """Return the number of a user's own trial, and the first number that the budget has no room for; None without one.

    Raises:
        Conflict: the study takes no trial.
    """
    if study.state not in (StudyState.RUNNING, StudyState.PAUSED) or study.ending is not None:
        state = "not inspected yet; try again once it runs" if study.state == StudyState.QUEUED else study.state
        raise Conflict(f"{study.name} is {state}: no trial can be added.")
    counts = TrialCounts.of(session, study.id)
    trials = study.spec.budget.trials
    if trials is not None and counts.spent >= trials:
        raise Conflict(f"{study.name} has had all {trials} trials of its budget.")
    return counts.total, None if trials is None else trials + counts.taken


def _ask_missing_then_enqueue(
    search: Search, first: int, wanted: Wanted, limit: int | None
) -> tuple[list[Wanted], int | None, bool]:
    """Create in Optuna all missing trials, then the user's own configuration if it may run and has room.

    Args:
        search: the study's search, whose turn the caller holds.
        first: the number of the first trial that our rows lack.
        wanted: the user's configuration, which may be partial, and seed.
        limit: the first number that the budget has no room for; None: no limit.

    Returns:
        The configurations to insert from number `first` on: the baseline where it is missing (trial 0), trials that
        a crash left in Optuna only, then the user's; the number of an identical trial, or None; and whether the last
        configuration is the user's. It is not if the budget has no room, or an identical trial exists without a seed.
    """
    params, seed = wanted
    added: list[Wanted] = []
    while first + len(added) == 0 or search.count() > first + len(added):
        number = first + len(added)
        added.append((search.ask(number) or {}, search.own_seed(number)))
    if seed is not None and added:
        last, its_seed = added[-1]
        if its_seed == seed and params.items() <= last.items():  # this very request, which a crash had cut off
            return added, None, True
    number = first + len(added)
    params = search.complete(number, params)
    same = search.find(params) if seed is None else None
    is_own = same is None and (limit is None or number < limit)
    if is_own:
        search.enqueue(number, params, seed)
        added.append((params, seed))
    return added, same, is_own


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
