"""A trial that was lost and goes on from an earlier evaluation: what is kept is what was measured."""

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running

pytestmark = pytest.mark.locks


def test_a_replay_that_comes_out_otherwise_takes_no_better_ones_place(house: Running) -> None:
    first, second = house.worker("w1"), house.worker("w2")
    house.started(first, budget={"trials": 1}, space={"learning_rate": [1e-4], "epochs": [3], "batch_size": [8]})
    work = first.take()
    first.report(work, 1, 0.80, best=first.write(work, "a1-s1.best", b"1"), resume=first.write(work, "a1-s1", b"r"))
    first.report(work, 2, 0.90, best=first.write(work, "a1-s2.best", b"2"))
    house.move_clock(40)
    house.reap()
    again = second.take()
    assert (again.attempt, again.checkpoint.step, again.checkpoint.best_value) == (2, 1, 0.90)
    second.report(again, 2, 0.89, best=second.write(again, "a2-s2.best", b"3"))
    second.report(again, 3, 0.895, best=second.write(again, "a2-s3.best", b"4"))
    second.finish(again)
    assert house.trials()[0]["value"] == 0.90
    winner = second.take(AssignmentKind.EVALUATE)
    assert winner.checkpoint.best is not None
    assert (winner.checkpoint.best.name, winner.checkpoint.best_step) == ("a1-s2.best", 2)
