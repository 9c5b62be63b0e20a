"""Configurations of users that wait for a study's inspection, and become trials 1, 2, ... right after the baseline.

`own_trials.py` accepts them, claims and `own_trials.py` draw and insert them together with trial 0. Their numbers are
known from the start: no row of a trial is there before, and all of them are inserted in the transaction that inserts
the baseline. One that the inspection shows to be impossible becomes a trial too, which has failed with a sentence; one
that its user has stopped or deleted meanwhile keeps its number, and becomes a cancelled or a deleted trial.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.dispatch.requests import Drawn, Request, deleted_with_key, waiting_before
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, NotFound, invalid
from luthier.service.lifecycle import transitions
from luthier.service.storage.database import Database
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import StudyRow, WaitingRow
from luthier.studies.early_check import check_early
from luthier.studies.hyperparameters import AUTO, Params
from luthier.studies.protocol import ENDED
from luthier.studies.search.search import Search
from luthier.studies.space import Space

MOST = 500  # that wait for one study
DELETED = "deleted"
NOT_RUN = "It was added before the inspection and did not run: "


def accept(session: Session, database: Database, study: StudyRow, request: Request) -> tuple[int, bool]:
    """Keep a request for a locked study that is not inspected yet.

    Returns:
        The number that its trial will have, and whether it is new.

    Raises:
        Conflict: there is no room, or the same configuration waits already.
        Invalid: its key came with another body before.
        ValidationError: the configuration cannot lie in the study's space.
    """
    rows = waiting(session, study.id)
    before = waiting_before(session, study, request)
    if before is not None:
        number = rows.index(before) + 1
        if before.ended == DELETED:
            raise deleted_with_key(study, number)
        return number, False
    if study.spec.takes_over is not None:
        text = f"{study.name} goes on from old trials, which get the first numbers once it is inspected"
        raise Conflict(f"{text}. Add this configuration then: as soon as `luthier get {study.name}` says running.")
    check_early(study.spec, request.params)
    trials = study.spec.budget.trials
    spent = sum(row.ended != DELETED for row in rows)
    if trials is not None and spent + 1 >= trials:
        text = f"{study.name} has a budget of {trials} trials: the baseline and {spent} configurations that wait"
        raise Conflict(f"{text} fill it. Raise budget.trials (POST /v1/studies/{study.name}/extend).")
    if len(rows) >= MOST:
        raise Conflict(f"{MOST} configurations wait for the inspection of {study.name} already; add more once it runs.")
    alive = [(n, row) for n, row in enumerate(rows, 1) if row.ended is None]
    same = [n for n, row in alive if row.params == request.params and row.seed == request.seed]
    if same and request.seed is None and set(request.params) >= set(study.spec.space.free()):
        text = f"This configuration waits as trial {same[0]} of {study.name} already; with a seed it runs once more."
        raise Conflict(text)
    row = WaitingRow(
        study_id=study.id,
        params=dict(request.params),
        seed=request.seed,
        request_key=request.key,
        request_digest=None if request.key is None else request.digest,
        created_at=database.time(session),
    )
    session.add(row)
    session.flush()
    return len(rows) + 1, True


def waiting(session: Session, study_id: int) -> list[WaitingRow]:
    """Return the requests that wait, in the order of their trials, from number 1; also those that users have ended."""
    rows = select(WaitingRow).where(WaitingRow.study_id == study_id).order_by(WaitingRow.id)
    return list(session.scalars(rows))


def end(session: Session, study: StudyRow, number: int, ended: str) -> bool:
    """End a request of a locked study that waits; return False where no trial of this number waits.

    Args:
        session: the caller's transaction.
        study: its row.
        number: that its trial will have.
        ended: cancelled or deleted.

    Raises:
        NotFound: it was deleted.
        Conflict: it is to be cancelled, and is.
    """
    rows = waiting(session, study.id)
    if not 0 < number <= len(rows):
        return False
    row = rows[number - 1]
    check_there(study, number, row)
    if ended != DELETED and (row.ended is not None or study.state in ENDED):
        raise Conflict(f"Trial {number} of {study.name} is cancelled already; there is nothing to stop.")
    row.ended = ended
    return True


def check_there(study: StudyRow, number: int, row: WaitingRow) -> None:
    """Raise NotFound where a request that waits was deleted."""
    if row.ended == DELETED:
        raise NotFound(f"{study.name} has no trial {number}: it was deleted.")


def draw(search: Search, study: StudyRow, rows: Iterable[WaitingRow]) -> list[Drawn]:
    """Create the trials of waiting requests in Optuna, from number 1, which come after the baseline.

    Those that a crash left there are adopted. The caller has the study's turn, and inserts what is returned.
    """
    space = resolved_space(study)
    drawn, ended = [], set()
    for number, row in enumerate(rows, 1):
        ended |= {number} if row.ended is not None else set()
        drawn.append(_drawn(search, space, study, number, row, ended))
    return drawn


def _drawn(search: Search, space: Space, study: StudyRow, number: int, row: WaitingRow, ended: set[int]) -> Drawn:
    notes: dict[str, Any] = {"request_key": row.request_key, "request_digest": row.request_digest}
    notes = {name: note for name, note in notes.items() if note is not None}
    is_there = search.count() > number
    error = None
    try:
        given = space.check(row.params, partial=True)
        params = search.ask(number) if is_there else search.complete(number, given)
        params = params or {}
        same = None if is_there or row.seed is not None else search.find(params)
        if same is not None and same not in ended:
            error = f"{NOT_RUN}this configuration is trial {same} already. With a seed it runs once more."
    except ValidationError as problem:
        asked = json.dumps(row.params)
        error = f"{NOT_RUN}{invalid(problem).detail}. Asked for was {asked}; add it again with other values."
        params = _possible(space, study, row.params)
    if not is_there:
        search.enqueue(number, params, row.seed, notes)
    return Drawn(params, row.seed, notes, error)


def _possible(space: Space, study: StudyRow, asked: dict[str, Any]) -> Params:
    """Return the configuration of the space that is nearest to an impossible one, which Optuna could not hold."""
    params = space.baseline(study.spec.task_info.baseline)
    for name, value in asked.items():
        if name in params:
            try:
                checked = space.knob(name).check(value)
            except ValueError:
                continue
            params |= {} if checked == AUTO else {name: checked}
    return space.clip(params)


def insert(
    session: Session, leases: Leases, search: Search, study: StudyRow, drawn: Sequence[Drawn], first: int
) -> None:
    """Insert trials of a locked study that Optuna has, from number `first` on.

    Those with an error have failed, and those that their users have ended are cancelled or deleted.

    Args:
        session: the transaction that gave back the turn.
        leases: where they are queued.
        search: that has them.
        study: its row.
        drawn: the trials.
        first: the number of the first.
    """
    if not drawn:
        return
    now = leases.database.time(session)
    ended = {number: row.ended for number, row in enumerate(waiting(session, study.id), 1)}
    for number, trial in enumerate(drawn, first):
        row = transitions.queue_trial(session, leases, study, number, trial.params, now, trial.seed, trial.notes)
        if ended.get(number) == DELETED:
            leases.erase(session, row)
            search.forget(number)
        elif ended.get(number) is not None:
            leases.stop(session, row)
        elif trial.error is not None:
            leases.refuse(session, row, trial.error)


def remove(session: Session, rows: Iterable[WaitingRow]) -> None:
    """Delete the requests that have become trials in this transaction."""
    for row in rows:
        session.delete(session.merge(row, load=True))
