"""Studies whose trials fail one after another: paused, the commonest reason first, and whole once resumed."""

from collections.abc import Callable
from typing import Any

import pytest

from luthier.service.lifecycle.failing_studies import AT_ONE_WORKER, IN_A_ROW, UNFIT_IN_A_ROW
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, ScriptedWorker
from tests.support.nightly import Nightly, template
from tests.support.sick import fail

SPACE = {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "batch_size": [8, 16], "epochs": 1}
SERIAL: dict[str, Any] = {"parallel": 1, "budget": {"trials": 12}, "space": SPACE}


def fail_times(worker: ScriptedWorker, times: int, text: str = "No such layer.") -> None:
    for _ in range(times):
        fail(worker, worker.take(), text=text)


@pytest.mark.full
@pytest.mark.both_databases
def test_it_is_paused_with_the_commonest_reason_first(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **SERIAL)
    worker.train(worker.take())
    fail_times(worker, 1, "A flake.")
    fail_times(worker, IN_A_ROW - 2, "Child 4711 was killed.\nTraceback")
    assert house.study()["state"] == "running"
    fail_times(worker, 1, "Child 4712 was killed.\nTraceback")
    study = house.study()
    assert study["state"] == "paused"
    assert study["message"] == study["warnings"][0]
    assert study["message"].startswith(
        "5 trials in a row failed, 4 of them with: Child 4711 was killed. Traceback (trial 2); 1 of them with: A flake "
        "(trial 1). Mend it, then `luthier resume s1`"
    )
    house.reap()
    assert worker.claim() is None
    assert house.study()["counts"]["failed"] == IN_A_ROW

    resumed = house.client.post("/v1/studies/s1/resume").json()
    assert (resumed["state"], resumed["message"], resumed["warnings"]) == ("running", None, [])
    fail_times(worker, IN_A_ROW - 1)
    assert house.study()["state"] == "running", "the count starts anew"
    worker.drain()
    study = house.study()
    assert (study["state"], study["counts"]["failed"], study["counts"]["complete"]) == ("completed", 9, 3)
    assert [trial.number for trial in house.optuna()] == list(range(12))


@pytest.mark.full
def test_a_success_in_between_or_a_trial_that_diverged_breaks_the_row(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **SERIAL)
    fail_times(worker, IN_A_ROW - 1)
    worker.finish(worker.take(), "pruned", reason="diverged")
    fail_times(worker, IN_A_ROW - 1)
    worker.train(worker.take())
    assert house.study()["state"] == "running"
    worker.drain()
    study = house.study()
    assert (study["state"], study["counts"]["failed"]) == ("completed", 2 * (IN_A_ROW - 1))


@pytest.mark.full
def test_a_study_in_which_nothing_ever_fitted_is_paused_later(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 30})
    for n in range(UNFIT_IN_A_ROW):
        assert house.study()["state"] == "running"
        if n % 2:
            fail(worker, worker.take(), "oom", "CUDA out of memory.")
        else:
            worker.finish(worker.take(), "pruned", reason="diverged", problem={"message": "The loss became NaN."})
    study = house.study()
    assert study["state"] == "paused"
    assert study["message"].startswith("20 trials in a row failed, 10 of them with: The loss became NaN (trial 0);")


@pytest.mark.full
def test_the_budget_of_failures_keeps_its_meaning(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 12, "failures": IN_A_ROW + 2})
    fail_times(worker, IN_A_ROW + 1)
    assert house.study()["state"] == "running"
    fail_times(worker, 1)
    assert house.study()["error"].startswith("7 trials failed, which is the budget's limit.")


@pytest.mark.full
def test_one_of_several_workers_is_no_proof_until_it_is_much(house: Running, worker: ScriptedWorker) -> None:
    """Failures that are tried nowhere else: the trials ran out of time."""
    house.started(worker, parallel=1, budget={"trials": 30})
    other = house.worker("other")
    for n in range(AT_ONE_WORKER):
        assert house.study()["state"] == "running", n
        a = worker.take()
        assert other.claim() is None
        fail(worker, a, "timeout")
    assert house.study()["state"] == "paused"


@pytest.mark.full
def test_at_two_workers_it_is_paused(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 30})
    other = house.worker("other")
    other.claim_and_give_back()
    for _ in range(IN_A_ROW):
        assert house.study()["state"] == "running"
        fail(worker, worker.take())
        fail(other, other.take())
    assert house.study()["state"] == "paused"


@pytest.mark.full
def test_a_schedules_study_which_nobody_resumes_fails(nightly: Callable[..., Nightly]) -> None:
    scheduled = nightly(study=template() | {"budget": {"trials": 12}, "parallel": 1})
    house, worker = scheduled.house, scheduled.worker
    scheduled.data("a")
    scheduled.due()
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    house.tick(scheduled.now)
    fail_times(worker, IN_A_ROW)
    study = house.study(scheduled.runs()[0]["study"])
    assert study["state"] == "failed"
    assert study["error"].startswith("5 trials in a row failed, all with: No such layer (trial 0).")


@pytest.mark.full
def test_a_users_own_pause_says_nothing_of_failures(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **SERIAL)
    fail_times(worker, IN_A_ROW)
    house.client.post("/v1/studies/s1/resume").raise_for_status()
    worker.train(worker.take())
    house.client.post("/v1/studies/s1/pause").raise_for_status()
    assert (house.study()["message"], house.study()["warnings"]) == (None, [])
