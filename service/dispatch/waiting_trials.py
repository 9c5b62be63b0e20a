"""Configurations of users that wait for a study's inspection, and become trials 1, 2, ... right after the baseline.

`own_trials.py` accepts them, claims and `own_trials.py` draw and insert them together with trial 0. Their numbers are
known from the start: no row of a trial is there before, and all of them are inserted in the transaction that inserts
the baseline. One that the inspection shows to be impossible becomes a trial too, which has failed with a sentence.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.dispatch.requests import Drawn, Request, waiting_before
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, invalid
from luthier.service.lifecycle import transitions
from luthier.service.storage.database import Database
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import StudyRow, WaitingRow
from luthier.studies.early_check import check_early
from luthier.studies.hyperparameters import AUTO, Params
from luthier.studies.search.search import Search
from luthier.studies.space import Space

MOST = 500  # that wait for one study
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
        return rows.index(before) + 1, False
    if study.spec.origin is not None:
        text = f"{study.name} goes on from old trials, which become its first ones once it is inspected"
        raise Conflict(f"{text}; add this configuration when it runs, or give it under from.trials of a study.")
    check_early(study.spec, request.params)
    trials = study.spec.budget.trials
    if trials is not None and len(rows) + 1 >= trials:
        text = f"{study.name} has a budget of {trials} trials: the baseline and {len(rows)} configurations that wait"
        raise Conflict(f"{text} fill it. Raise budget.trials (POST /v1/studies/{study.name}/extend).")
    if len(rows) >= MOST:
        raise Conflict(f"{MOST} configurations wait for the inspection of {study.name} already; add more once it runs.")
    same = [n for n, row in enumerate(rows, 1) if row.params == request.params and row.seed == request.seed]
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
    """Return the requests that wait, in the order of their trials, from number 1."""
    rows = select(WaitingRow).where(WaitingRow.study_id == study_id).order_by(WaitingRow.id)
    return list(session.scalars(rows))


def draw(search: Search, study: StudyRow, rows: Iterable[WaitingRow]) -> list[Drawn]:
    """Create the trials of waiting requests in Optuna, from number 1, which come after the baseline.

    Those that a crash left there are adopted. The caller has the study's turn, and inserts what is returned.
    """
    space = resolved_space(study)
    return [_drawn(search, space, study, number, row) for number, row in enumerate(rows, 1)]


def _drawn(search: Search, space: Space, study: StudyRow, number: int, row: WaitingRow) -> Drawn:
    notes: dict[str, Any] = {"request_key": row.request_key, "request_digest": row.request_digest}
    notes = {name: note for name, note in notes.items() if note is not None}
    is_there = search.count() > number
    error = None
    try:
        given = space.check(row.params, partial=True)
        params = search.ask(number) if is_there else search.complete(number, given)
        params = params or {}
        same = None if is_there or row.seed is not None else search.find(params)
        if same is not None:
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


def insert(session: Session, leases: Leases, study: StudyRow, drawn: Sequence[Drawn], first: int, now: float) -> None:
    """Insert trials of a locked study that Optuna has, from number `first` on; those with an error have failed.

    Args:
        session: the transaction that gave back the turn.
        leases: where they are queued.
        study: its row.
        drawn: the trials.
        first: the number of the first.
        now: seconds since the epoch, by the database's clock.
    """
    for number, trial in enumerate(drawn, first):
        row = transitions.queue_trial(session, leases, study, number, trial.params, now, trial.seed, trial.notes)
        if trial.error is not None:
            leases.refuse(session, row, trial.error)


def remove(session: Session, rows: Iterable[WaitingRow]) -> None:
    """Delete the requests that have become trials in this transaction."""
    for row in rows:
        session.delete(session.merge(row, load=True))
