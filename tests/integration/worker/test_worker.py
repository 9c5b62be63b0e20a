"""What a worker does with an assignment, and when the service, its child or its lease comes to harm."""

import threading
import time
from pathlib import Path

import pytest

from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.protocol import SECRET_SETTINGS, AssignmentKind, Checkpoint, Decision, Reason, Renewal, Report
from tests.support.scripted import TOKEN, Service
from tests.support.tiers import a_few
from tests.support.tiny import tiny_csv, tiny_model
from tests.support.waiting import gone, until
from tests.support.worker_processes import Starts


def test_an_assignment_from_claim_to_finish(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"steps": 3})
    service.assign(2, shared=True, kind=AssignmentKind.INSPECT)
    service.assign(3, shared=True, params={"steps": 1})
    start()
    outcome = service.outcome(3)
    assert (outcome.status, outcome.examples_per_second, outcome.peak_memory_bytes) == ("complete", 12.5, 99)
    assert [r.step for r in service.reports(1)] == [1, 2, 3]
    assert service.reports(1)[0].metrics == {"accuracy": 0.51, "loss": None}  # what is not finite never leaves
    seconds = [r.seconds for r in service.reports(1)]
    assert 0 < seconds[0] <= seconds[1] <= seconds[2] <= service.outcome(1).seconds
    inspection = service.outcome(2).inspection
    assert inspection is not None
    assert inspection.label_names == ["a", "b"]
    assert "done 1" in service.log(1)
    assert "done 2" in service.log(3)
    assert service.said[0][1].worker == "stub"
    assert 15 <= service.said[0][1].wait_seconds <= 20


@pytest.mark.full
def test_a_service_that_is_away_stops_no_training(service: Service, start: Starts, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    service.assign(1, shared=True, params={"steps": 4, "pause": 0.2, "ended": str(trained)})
    began = time.monotonic()
    start()
    service.wait(lambda s: len(s.reports(1)) == 1)
    service.down = True
    service.wait(lambda s: len([r for r in s.requests if r[1].endswith("report")]) > 3)
    service.close()
    until(trained.exists)  # the training ends while the service is away
    away_until = time.monotonic() - began
    service.down = False
    service.open()
    outcome = service.outcome(1)
    assert outcome.status == "complete"
    assert outcome.seconds <= away_until
    assert [r.step for r in service.reports(1)] == [1, 2, 3, 4]


@pytest.mark.full
def test_a_trial_at_a_rung_waits_for_its_decision_and_pauses_with_its_file(service: Service, start: Starts) -> None:
    """Nothing is trained while the service takes its time."""
    decided = threading.Event()

    def decide(message: Report | Renewal) -> Decision:
        if isinstance(message, Renewal) or message.id == 2 or message.step == 1:
            return Decision.CONTINUE
        assert decided.wait(30)
        return Decision.PAUSE

    service.decide = decide
    service.assign(1, params={"steps": 4, "waits": True})
    start()
    service.wait(lambda s: len(s.reports(1)) == 2)
    decided.set()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("paused", None)
    assert [r.step for r in service.reports(1)] == [1, 2]
    assert outcome.resume is not None
    assert service.files[1, outcome.resume.name] == b"resume 2" * 1000
    service.keep(2, outcome.resume.name, service.files[1, outcome.resume.name])
    goes_on = Checkpoint(step=2, resume=outcome.resume)
    service.assign(2, params={"steps": 4, "waits": True}, checkpoint=goes_on, attempt=2)
    assert service.outcome(2).status == "complete"
    assert [r.step for r in service.reports(2)] == [3, 4]


@pytest.mark.full
def test_what_fitted_in_memory_is_told_with_reports_and_outcomes_but_not_after_a_failure(
    service: Service, start: Starts
) -> None:
    service.assign(1, shared=True, params={"fits": 4})
    service.assign(2, shared=True, params={"fits": 1, "act": "oom"})
    service.assign(3, shared=True, params={})
    start()
    assert [service.outcome(id).micro_batch for id in (1, 2, 3)] == [4, None, None]
    assert service.reports(1)[0].micro_batch == 4


def test_too_many_requests_are_spaced_as_the_service_asks(service: Service, start: Starts) -> None:
    service.status["claim"] = 429
    service.assign(1, shared=True)
    start()
    service.wait(lambda s: len(s.requests) > 2)
    service.status.clear()
    assert service.outcome(1).status == "complete"


@pytest.mark.full
def test_a_report_that_is_refused_ends_the_trial_with_the_sentence(service: Service, start: Starts) -> None:
    service.status["report"] = 422
    service.assign(1, shared=True, params={"act": "hang"})
    service.assign(2, shared=True, params={"steps": 0})
    start()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("failed", Reason.ERROR)
    assert outcome.problem is not None
    assert "as the script says" in outcome.problem.message
    assert service.outcome(2).status == "complete", "the worker goes on"


@pytest.mark.full
def test_a_trial_with_scores_beyond_all_bounds_ends_with_a_sentence(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"scores": 20_000})
    service.assign(2, shared=True, params={"loss": 1e308})
    start()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("failed", Reason.ERROR)
    assert outcome.problem is not None
    assert "at most 100 items" in outcome.problem.message
    assert service.outcome(2).status == "complete"
    assert service.reports(2)[0].metrics == {"accuracy": 0.51, "loss": None}


@pytest.mark.full
def test_the_lease_is_renewed_while_the_child_is_in_one_long_call(service: Service, start: Starts) -> None:
    """A cell of megabytes, say: the child neither sends nor receives, and a lease ends many times meanwhile."""
    service.lease_seconds = 0.3
    service.assign(1, shared=True, params={"steps": 0, "act": "deaf"})
    start()
    outcome = service.outcome(1)
    assert outcome.status == "complete"
    assert outcome.seconds > 2
    assert len([message for route, message in service.said if route == "renew" and message.id == 1]) >= 10


@pytest.mark.parametrize("route", ["report", "renew"])
@pytest.mark.parametrize("act", a_few(1, ["quiet", "hang"]))
def test_a_lost_lease_ends_the_work(service: Service, start: Starts, route: str, act: str) -> None:
    service.lease_seconds = 0.3
    service.assign(1, shared=True, params={"steps": 1, "act": act})
    if route == "report":
        service.stale.add(1)
    start()
    if route == "renew":
        pid = service.child_pid(1)
        service.stale.add(1)
    service.assign(2, shared=True)
    assert service.outcome(2).status == "complete"
    assert not [m for r, m in service.said if r == "finish" and m.id == 1]
    if route == "renew":
        same = f"pid {pid} " in service.log(2)
        assert same == (act == "quiet")  # a child that ends by itself is kept, one that hangs is killed
        assert same or gone(pid)


@pytest.mark.parametrize(
    ("decision", "status", "reason"),
    a_few(1, [(Decision.PRUNE, "pruned", None), (Decision.STOP, "complete", Reason.BUDGET)]),
)
@pytest.mark.parametrize("on", a_few(1, [Renewal, Report]))
def test_a_decision_to_end_is_obeyed(
    service: Service, start: Starts, decision: Decision, status: str, reason: Reason | None, on: type
) -> None:
    service.lease_seconds = 0.3
    due = {Report: 1, Renewal: 3}[on]  # reports after which the decision falls
    service.decide = lambda m: decision if isinstance(m, on) and len(service.reports(1)) == due else Decision.CONTINUE
    service.assign(1, shared=True, params={"steps": 3, "act": "quiet"})
    start()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert len(service.reports(1)) == due


@pytest.mark.full
def test_a_cancelled_assignment_has_no_outcome(service: Service, start: Starts) -> None:
    service.decide = lambda m: Decision.CANCEL if m.id == 1 else Decision.CONTINUE
    service.assign(1, shared=True, params={"act": "quiet"})
    service.assign(2, shared=True)
    start()
    assert service.outcome(2).status == "complete"
    assert not [m for r, m in service.said if r == "finish" and m.id == 1]


@pytest.mark.parametrize("act", a_few(1, ["die", "exit"]))
def test_a_dead_child_is_told_of_and_replaced(service: Service, start: Starts, act: str) -> None:
    service.assign(1, shared=True, params={"steps": 2, "act": act})
    service.assign(2, shared=True)
    start()
    outcome = service.outcome(1)
    assert outcome.status == "lost"
    assert outcome.problem is not None
    assert ("SIGKILL" if act == "die" else "code 7") in outcome.problem.message
    assert [r.step for r in service.reports(1)] == [1, 2]
    assert service.outcome(2).status == "complete"
    assert "done 1" in service.log(2)


def test_failures_are_named(service: Service, start: Starts) -> None:
    for id, act in enumerate(["bad_data", "error", "full", "oom", "ok"], 1):
        service.assign(id, shared=True, params={"act": act})
    process = start()
    outcomes = {id: service.outcome(id) for id in range(1, 6)}
    assert [o.reason for o in outcomes.values()] == ["bad_data", "error", None, "oom", None]
    problems = [o.problem for o in outcomes.values()]
    assert problems[0] is not None
    assert problems[0].path == ["dataset", "columns", "text"]
    assert problems[1] is not None
    assert problems[1].message.startswith("ValueError: this went wrong")
    assert "\n" not in problems[1].message
    assert "Traceback" in service.log(2)
    assert problems[2] is not None
    assert outcomes[3].status == "released", "a full disk is no fault of the trial's"
    assert "disk is full" in problems[2].message
    assert "It waits for room." in service.log(3)
    assert "done 5" in service.log(4), "of five: what met a full disk was tried again"
    assert "done 1" in service.log(5)
    assert TOKEN not in process.text()
    assert "lease-" not in process.text()


@pytest.mark.full
def test_a_trial_that_takes_too_long_is_ended(service: Service, start: Starts) -> None:
    limit = {"trials": 1, "trial_seconds": 0.5}
    service.assign(1, shared=True, params={"act": "hang"}, spec={"budget": limit})
    service.assign(2, shared=True)
    start()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("failed", "timeout")
    assert outcome.problem is not None
    assert "trial_seconds" in outcome.problem.message
    assert service.outcome(2).status == "complete"


def test_a_child_gets_none_of_the_secret_settings(service: Service, start: Starts) -> None:
    """Of a worker that was started by hand, in an environment that holds all of them."""
    secrets = {name: f"{name}-at-the-worker" for name in SECRET_SETTINGS if name != "LUTHIER_WORKER_TOKEN"}
    service.assign(1, shared=True, params={"act": "hang"})
    process = start(**secrets)
    child = service.child_pid(1)
    names = {entry.partition(b"=")[0].decode() for entry in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")}
    at_the_worker = Path(f"/proc/{process.popen.pid}/environ").read_bytes()
    assert "PATH" in names
    assert names.isdisjoint(SECRET_SETTINGS)
    assert all(f"{name}={value}".encode() in at_the_worker for name, value in secrets.items())


def test_the_real_child_inspects_trains_and_evaluates(service: Service, start: Starts, tmp_path: Path) -> None:
    study = {
        "model": str(tiny_model(tmp_path / "model")),
        "dataset": {"source": str(tiny_csv(tmp_path / "rows.csv"))},
        "space": {"learning_rate": 3e-3, "batch_size": 8, "epochs": 2},
    }
    params = {name: h.default for name, h in HYPERPARAMETERS.items()} | study["space"] | {"max_length": 32}
    service.assign(1, kind=AssignmentKind.INSPECT, params=params, spec=study)
    start("--gpu", "cpu", "--threads", "1", "--name", "real", module="luthier.trials", LUTHIER_DATA_ROOTS=str(tmp_path))
    inspection = service.outcome(1, 60).inspection
    assert inspection is not None
    assert sorted(inspection.label_names) == ["anger", "joy"]
    service.assign(2, params=params, spec=study, inspection=inspection)
    outcome = service.outcome(2, 30)
    assert outcome.status == "complete", outcome.problem
    first, last = service.reports(2)
    winner = last.best or first.best
    assert first.resume is not None
    assert winner is not None
    assert last.metrics["accuracy"] is not None
    resume = Checkpoint(step=1, resume=service.keep(3, first.resume.name, service.files[2, first.resume.name]))
    service.assign(3, attempt=2, params=params, spec=study, inspection=inspection, checkpoint=resume)
    assert service.outcome(3, 30).status == "complete"
    assert [(r.step, r.metrics) for r in service.reports(3)] == [(2, last.metrics)]  # as if never interrupted
    best = Checkpoint(best=service.keep(4, winner.name, service.files[2, winner.name]))
    service.assign(4, kind=AssignmentKind.EVALUATE, params=params, spec=study, inspection=inspection, checkpoint=best)
    evaluation = service.outcome(4, 30).evaluation
    assert evaluation is not None
    assert evaluation.test is not None
    assert len(service.files[4, "model.tar.gz"]) == evaluation.model.bytes
