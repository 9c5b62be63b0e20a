"""The log of changes has an order: what was read is never followed by something earlier."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.orm import Session

from luthier.service.storage.change_log import ChangeLog
from luthier.service.storage.changes import Changed
from luthier.service.storage.database import Database
from luthier.service.storage.service_tables import ChangeRow
from tests.support.harness import Running, ScriptedWorker


@pytest.fixture
def database(postgres_url: Callable[[], str]) -> Iterator[Database]:
    database = Database(postgres_url())
    yield database
    database.dispose()


def insert(session: Session, study_id: int) -> int:
    row = ChangeRow(study_id=study_id, kind=Changed.STUDY)
    session.add(row)
    session.flush()
    return row.id


def ids(log: ChangeLog) -> list[int]:
    with log.database.reading() as session:
        return [row.id for row in log.read(session, 0, log.settled, 99)]


@pytest.mark.full
def test_nothing_is_read_beyond_what_may_still_appear(database: Database) -> None:
    log = ChangeLog(database)
    with Session(database.engine) as slow, Session(database.engine) as quick:
        first = insert(slow, 1)
        second = insert(quick, 2)
        quick.commit()
        assert (first, second) == (1, 2)
        assert log.settle() == 0
        with Session(database.engine) as later:  # never a moment without a writer
            third = insert(later, 3)
            slow.commit()
            assert log.settle() == 2
            assert ids(log) == [1, 2]
            with Session(database.engine) as last:
                insert(last, 4)
                later.commit()
                log.settle()
                last.rollback()
        assert log.settle() == third
        assert ids(log) == [1, 2, 3]


def test_a_long_transaction_elsewhere_holds_nothing_up(database: Database) -> None:
    log = ChangeLog(database)
    with Session(database.engine) as other:
        other.connection().exec_driver_sql("INSERT INTO luthier_service VALUES ('s', 1.0)")
        with Session(database.engine) as session:
            insert(session, 1)
            session.commit()
        assert log.settle() == 1


def test_only_what_people_can_see_is_a_change(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 2})
    log = house.app.state.service.feed.log
    with house.core.database.reading() as session:
        before = log.last_id(session)
    trials = [worker.take(), worker.take()]
    for trial in trials:
        house.reap()
        worker.renew(trial)
        worker.claim()
    with house.core.database.reading() as session:
        kinds = [(row.kind, row.number) for row in log.read(session, before, log.last_id(session), 99)]
    assert kinds == [("trial", 0), ("study", None), ("trial", 1), ("study", None)]
