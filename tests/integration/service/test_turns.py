"""Turns: one request at a time has a row's turn, until it gives the turn back or the turn expires."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from luthier.service.storage.database import Database
from luthier.service.storage.schedule_tables import RunRow, ScheduleRow
from luthier.service.storage.tables import StudyRow
from luthier.service.storage.turns import TURN_SECONDS, Turns
from luthier.studies.protocol import StudyState
from luthier.studies.schedule import ScheduleSpec
from luthier.studies.schedule_runs import RunState
from luthier.studies.spec import StudySpec
from tests.support.harness import spec

pytestmark = pytest.mark.locks


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


def insert_study(database: Database) -> tuple[Turns, int]:
    with database.transaction() as session:
        study = StudyRow(
            name="s1", state=StudyState.RUNNING, spec=StudySpec.model_validate(spec()), parallel=1, created_at=0.0
        )
        session.add(study)
        session.flush()
        return Turns.to_ask(database), study.id


def insert_run(database: Database) -> tuple[Turns, int]:
    with database.transaction() as session:
        document = {"name": "nightly", "cron": "0 3 * * *", "study": spec()}
        document["study"].pop("name")
        schedule = ScheduleRow(
            name="nightly", spec=ScheduleSpec.model_validate(document), created_at=0.0, dealt_until=0.0
        )
        session.add(schedule)
        session.flush()
        run = RunRow(schedule_id=schedule.id, due_at=0.0, state=RunState.RUNNING, created_at=0.0, template="t")
        session.add(run)
        session.flush()
        return Turns.to_advance(database), run.id


@pytest.mark.parametrize("insert", [insert_study, insert_run])
def test_a_turn_belongs_to_one_until_it_is_given_back_or_expires(
    database: Database, insert: Callable[[Database], tuple[Turns, int]]
) -> None:
    turns, row_id = insert(database)

    def take() -> str | None:
        with database.transaction() as session:
            return turns.take(session, row_id)

    def is_held(token: str) -> bool:
        with database.transaction() as session:
            statement = select(turns.table).where(turns.table.id == row_id).with_for_update()
            return turns.is_held(session.scalars(statement).one(), token)

    def give_back(token: str) -> None:
        with database.transaction() as session:
            turns.give_back(session, row_id, token)

    first = take()
    assert first is not None
    assert is_held(first)
    assert take() is None

    give_back("of somebody else")
    assert is_held(first)
    give_back(first)
    assert not is_held(first)

    second = take()
    assert second is not None
    assert second != first
    database.clock_offset += TURN_SECONDS - 2  # two seconds for the test itself
    assert take() is None
    database.clock_offset += 3
    third = take()
    assert third is not None
    assert not is_held(second)

    give_back(second)  # the turn of a request that was too slow
    assert is_held(third)
    database.dispose()


def test_a_turn_is_taken_only_where_a_condition_holds(database: Database) -> None:
    turns, row_id = insert_run(database)
    with database.transaction() as session:
        assert turns.take(session, row_id, RunRow.state == RunState.FAILED) is None
        assert turns.take(session, row_id + 1) is None
        assert turns.take(session, row_id, RunRow.state == RunState.RUNNING) is not None
    database.dispose()


def test_a_turn_that_is_rolled_back_was_not_taken(database: Database) -> None:
    turns, row_id = insert_study(database)
    with pytest.raises(RuntimeError), database.transaction() as session:
        assert turns.take(session, row_id) is not None
        raise RuntimeError("out of luck")
    with database.transaction() as session:
        assert turns.take(session, row_id) is not None
    database.dispose()
