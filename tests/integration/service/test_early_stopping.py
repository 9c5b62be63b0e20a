"""Trials that end early by themselves: what people see of them, and that their best evaluation counts."""

from typing import Any

from luthier.service.cli.follow import trial_line
from luthier.service.schemas import TrialView
from luthier.studies.protocol import AssignmentKind, Decision
from tests.support.harness import Running, ScriptedWorker

SPEC: dict[str, Any] = {
    "space": {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "epochs": 8},
    "pruner": {"name": "median", "startup_trials": 1, "warmup_steps": 3},
    "early_stopping": {"patience": 2},
    "budget": {"trials": 4},
    "parallel": 1,
}


def train(worker: ScriptedWorker, kind: AssignmentKind, scores: list[float | None]) -> list[Decision]:
    """Report the scores, the best of them with its weights, and finish as early stopping does."""
    a, decisions, best = worker.take(kind), [], 0.0
    for step, score in enumerate(scores, start=1):
        files = {}
        if score is not None and score > best:
            best, files = score, {"best": worker.write(a, f"best-{step}", f"weights {a.number} {step}".encode())}
        decisions.append(worker.report(a, step, score, **files))
    worker.finish(a, reason="early_stopping")
    return decisions


def test_a_trial_that_ended_early_counts_with_its_best_evaluation(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, **SPEC, confirm={"candidates": 1, "seeds": 2})
    for _ in range(3):
        assert set(train(worker, AssignmentKind.TRAIN, [0.5, 0.7, 0.8, 0.79, 0.6])) == {Decision.CONTINUE}
    decisions = train(worker, AssignmentKind.TRAIN, [0.4, 0.5, None, 0.45])
    assert set(decisions) == {Decision.CONTINUE}, "the median of 0.79 prunes no trial that has come to its end"

    trials = house.trials()
    assert [(t["state"], t["reason"], t["value"]) for t in trials] == [
        *[("complete", "early_stopping", 0.8)] * 3,
        ("complete", "early_stopping", 0.5),
    ]
    assert trial_line(TrialView.model_validate(trials[0])).startswith("trial 0 complete (early_stopping), 0.8000 in")
    assert [t.state.name for t in house.optuna()] == ["COMPLETE"] * 4
    for scores in ([0.6, 0.7, 0.65, 0.7], [0.9, 0.8, 0.7]):
        train(worker, AssignmentKind.CONFIRM, scores)
    worker.drain()
    study = house.study()
    assert (study["state"], study["best"]["trial"]) == ("completed", 0)
    assert sorted(study["confirmed"][0]["values"]) == [0.7, 0.9]
    assert study["counts"]["complete"] == 4


def test_a_trial_that_is_no_longer_short_of_a_better_score_can_be_pruned(
    house: Running, worker: ScriptedWorker
) -> None:
    house.started(worker, **SPEC)
    for _ in range(3):
        train(worker, AssignmentKind.TRAIN, [0.5, 0.7, 0.8, 0.9, 0.91, 0.8, 0.8])
    a = worker.take()
    decisions = [worker.report(a, step, score) for step, score in enumerate([0.4, 0.39, 0.5, 0.49], start=1)]
    assert decisions == [Decision.CONTINUE] * 3 + [Decision.PRUNE]
    worker.finish(a, "pruned")
    assert (house.trials()[3]["state"], house.trials()[3]["reason"]) == ("pruned", None)
