"""Data that goes away from a schedule's study: tried again by itself, and given up with the sentence after hours."""

from collections.abc import Callable

import pytest

from luthier.service.lifecycle.absences import FIRST_REST, GIVE_UP_SECONDS, LONGEST_REST
from luthier.studies.protocol import AssignmentKind
from tests.support.absences import GONE, say_away, work_until
from tests.support.harness import Running
from tests.support.nightly import BETTER, Nightly, template
from tests.support.tiers import a_few

SCHEDULE = {"study": template(parallel=1), "skip_if_unchanged": False}


@pytest.mark.full
@pytest.mark.both_databases
def test_a_schedules_study_is_tried_again_by_itself(nightly: Callable[..., Nightly], house: Running) -> None:
    """Nobody would resume it; its data comes back after an hour."""
    it = nightly(**SCHEDULE)
    it.data("a")
    it.due()
    a = work_until(it.worker, AssignmentKind.INSPECT)
    it.worker.inspect(a)
    house.tick(it.now)
    tries, spent = 0, 0.0
    while spent < 3600:
        say_away(it.worker, it.worker.take())
        tries += 1
        assert it.worker.claim() is None
        seconds = min(FIRST_REST * 2 ** (tries - 1), LONGEST_REST)
        spent += seconds
        house.move_clock(seconds)
        house.reap()
        study = house.study(a.study)
        assert (study["state"], study["counts"]["failed"]) == ("running", 0)
        assert GONE in study["warnings"][0]
    assert tries < 25
    it.settle()
    (run,) = it.runs()
    assert (run["state"], run["outcome"]) == ("finished", "first")
    assert house.study(a.study)["counts"]["complete"] == 3


@pytest.mark.both_databases
@pytest.mark.parametrize("kind", a_few(1, [AssignmentKind.TRAIN, AssignmentKind.CONFIRM, AssignmentKind.EVALUATE]))
def test_a_schedules_run_fails_once_its_data_stays_away(
    nightly: Callable[..., Nightly], house: Running, kind: AssignmentKind
) -> None:
    it = nightly(**SCHEDULE)
    it.data("a")
    it.due()
    it.worker.inspect(work_until(it.worker, AssignmentKind.INSPECT))
    house.tick(it.now)
    a = work_until(it.worker, kind)
    say_away(it.worker, a)
    house.move_clock(GIVE_UP_SECONDS - 10)
    say_away(it.worker, it.worker.take(kind))
    assert house.study(a.study)["state"] == "running"
    house.move_clock(10)
    say_away(it.worker, it.worker.take(kind))
    study = house.study(a.study)
    assert study["state"] == "failed"
    assert GONE in study["error"]
    house.tick(it.now)
    (run,) = it.runs()
    assert run["state"] == "failed"
    assert GONE in run["message"]
    assert it.worker.claim() is None


@pytest.mark.full
def test_a_comparison_waits_for_its_data_too(nightly: Callable[..., Nightly], house: Running) -> None:
    it = nightly(**SCHEDULE)
    it.run("a")
    a = it.until_compared("b")
    say_away(it.worker, a)
    assert it.worker.claim() is None
    house.move_clock(FIRST_REST)
    it.worker.comparison = BETTER
    it.settle()
    assert [run["outcome"] for run in it.runs()] == ["promoted", "first"]

    a = it.until_compared("c")
    say_away(it.worker, a)
    house.move_clock(GIVE_UP_SECONDS)
    again = it.worker.take(AssignmentKind.COMPARE)
    assert again.id == a.id
    say_away(it.worker, again)
    it.settle()
    run = it.runs()[0]
    assert run["state"] == "failed"
    assert GONE in run["message"]


@pytest.mark.full
def test_a_comparison_that_no_run_waits_for_ends_too(nightly: Callable[..., Nightly], house: Running) -> None:
    it = nightly(**SCHEDULE)
    it.run("a")
    a = it.until_compared("b")
    with house.core.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE luthier_run SET state = 'cancelled' WHERE state = 'running'")
    say_away(it.worker, a)
    assert house.study(a.study)["state"] == "completed"
    house.move_clock(GIVE_UP_SECONDS)
    say_away(it.worker, it.worker.take(AssignmentKind.COMPARE))
    house.move_clock(GIVE_UP_SECONDS)
    assert it.worker.claim() is None
