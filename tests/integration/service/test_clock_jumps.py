"""The database's clock jumps: no living worker loses its trial, no dead one keeps a trial, no turn lasts for hours."""

import pytest
from sqlalchemy import select, update

from luthier.service.dispatch.reaper import Reaper
from luthier.service.storage.clock_watch import ClockWatch
from luthier.service.storage.database import Database
from luthier.service.storage.presence import Presence
from luthier.service.storage.service_tables import WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.service.storage.turns import TURN_SECONDS, Turns
from luthier.studies.protocol import Claim, Decision
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases

LEASE, HOUR = 30.0, 3600.0  # seconds


class Rounds:
    """The rounds of one service's reaper, by a monotonic clock of the test; every clock that `pass_` moves moves on."""

    def __init__(self, *houses: Running) -> None:
        self.houses, self.now = houses, 0.0
        self._looks = [Reaper(house.core).guarded_tick(lambda: self.now) for house in houses]
        self.pass_(1, times=int(LEASE) + 2)  # the grace of a start

    def pass_(self, seconds: float, times: int = 1) -> None:
        """Let so much time pass, then have each service look; so many times."""
        for _ in range(times):
            self.now += seconds
            self.jump(seconds)
            for look in self._looks:
                look()

    def jump(self, seconds: float) -> None:
        """Set the database's clock, as every service sees it."""
        for house in self.houses:
            house.move_clock(seconds)


@pytest.fixture
def rounds(house: Running) -> Rounds:
    return Rounds(house)


def state(house: Running) -> str:
    return str(house.trials()[0]["state"])


def losses(house: Running) -> int:
    with house.core.database.reading() as session:
        return sum(session.scalars(select(AssignmentRow.losses)))


@pytest.mark.parametrize("jump", a_few(1, [2 * LEASE, 3 * HOUR]))
def test_a_jump_forward_costs_a_living_worker_nothing(
    house: Running, worker: ScriptedWorker, rounds: Rounds, jump: float
) -> None:
    house.started(worker)
    a = worker.take()
    for _ in range(house.settings.max_losses):
        rounds.jump(jump)
        rounds.pass_(1, times=10)  # a third of a lease: then a worker renews
        assert worker.renew(a) is Decision.CONTINUE
    worker.finish(a, "released")
    assert losses(house) == 0


def test_a_worker_that_died_before_a_jump_loses_its_trial_a_lease_later(
    house: Running, worker: ScriptedWorker, rounds: Rounds
) -> None:
    house.started(worker)
    worker.take()
    rounds.jump(3 * HOUR)
    rounds.pass_(1, times=int(LEASE) - 2)
    assert state(house) == "running"
    rounds.pass_(1, times=4)
    assert state(house) == "queued"
    assert losses(house) == 1


def test_after_a_jump_back_a_dead_worker_loses_its_trial_a_lease_later(
    house: Running, worker: ScriptedWorker, rounds: Rounds
) -> None:
    house.started(worker)
    worker.take()
    rounds.jump(-2 * HOUR)
    rounds.pass_(1, times=int(LEASE) - 2)
    assert state(house) == "running"
    rounds.pass_(1, times=4)
    assert state(house) == "queued"


def test_a_jump_before_the_start_of_a_service_is_mended_too(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    a = worker.take()
    house.move_clock(-2 * HOUR)
    rounds = Rounds(house)  # it has never seen the clock before the jump
    assert state(house) == "queued"
    rounds.pass_(1)
    assert worker.client.post("/v1/worker/renew", json={"id": a.id, "token": a.token}).status_code == 409


def test_a_slow_answer_of_the_database_is_no_jump(database_url: str) -> None:
    database = Database(database_url)
    ours = iter([0.0, 0.1, 1.0, 60.9, 61.0, 61.1, 62.0, 62.1])  # before and after each answer; the second takes 60 s
    watch = ClockWatch(database, LEASE / 6, lambda: next(ours))
    jumps = []
    for passed in (0.0, 31.0, 30.0, 11.0):
        database.clock_offset += passed
        jumps.append(round(watch.look()[1]))
    assert jumps == [0, 0, 0, 10]
    database.dispose()


def test_no_service_takes_another_for_gone_after_a_jump(house: Running, database_url: str) -> None:
    """A service that thinks it is alone reads its own writes from memory, and misses those of the other."""
    with running(house.settings.home.parent / "other", database_url) as other:
        rounds = Rounds(house, other)
        alone = [core.searches.__dict__ for core in (house.core, other.core)]
        assert [service["_alone"] for service in alone] == [False, False]
        rounds.jump(3 * HOUR)
        rounds.pass_(1)
        assert [service["_alone"] for service in alone] == [False, False]


def test_a_turn_is_free_after_a_jump_back(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    turns, database = Turns.to_ask(house.core.database), house.core.database
    with database.transaction() as session:
        study_id = session.scalars(select(StudyRow.id)).one()
        assert turns.take(session, study_id) is not None
    house.move_clock(-TURN_SECONDS / 2)
    assert worker.claim() is None, "the request that has the turn still asks"
    house.move_clock(-2 * HOUR)
    assert worker.claim() is not None


def test_a_worker_that_left_before_a_jump_back_is_away(database_url: str) -> None:
    database = Database(database_url)
    presence = Presence(database, LEASE)
    with database.transaction() as session:
        presence.record_claim(session, Claim(worker="w1"))
    database.clock_offset = -2 * HOUR
    with database.reading() as session:
        assert session.scalar(select(WorkerRow.name).where(presence.is_waiting())) is None
        assert session.scalar(select(WorkerRow.name).where(presence.is_present())) is None
        assert not presence.any_worker(session)
    database.dispose()
    database.dispose()


def test_a_plan_survives_a_jump_forward(house: Running, rounds: Rounds) -> None:
    house.create()

    def plans() -> int:
        with house.core.database.reading() as session:
            return len(session.scalars(select(StudyRow.id).where(StudyRow.transient)).all())

    with house.core.database.transaction() as session:
        session.execute(update(StudyRow).values(transient=True))
    rounds.jump(3 * HOUR)
    rounds.pass_(10, times=60)
    assert plans() == 1
    house.reap()
    assert plans() == 0
