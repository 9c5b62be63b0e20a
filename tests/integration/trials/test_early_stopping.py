"""Early stopping of real trials: where it ends them, what it keeps, and that a resumed trial ends there too."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from luthier.studies.early_stopping import EarlyStopping
from luthier.studies.protocol import Assignment, Checkpoint, Decision, Reason
from luthier.trials.child.__main__ import perform
from luthier.trials.errors import Ended
from luthier.trials.jobs.train import Finished, train
from luthier.trials.training import progress
from luthier.trials.training.model_cache import ModelCache
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
# At this rate the score rises, then falls.
PARAMS: dict[str, Any] = {"epochs": 4, "learning_rate": 3e-2}
SPEC: dict[str, Any] = {"objective": {"metric": "auc"}, "evaluations_per_epoch": 2, "pruner": {"name": "none"}}
WARM = ModelCache()
RULE = {"early_stopping": {"patience": 2, "min_delta": 0.001}}


@pytest.fixture(autouse=True)
def resumable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation leaves a file for a resume, however short the training was."""
    monkeypatch.setattr(progress, "RESUME_COSTS", 0)


def run(assign: Assign, session: Memory, rule: dict[str, Any] | None = None, **fields: Any) -> Finished:
    return train(assign(params=PARAMS, spec=SPEC | (rule or {}), **fields), session, WARM)


@pytest.mark.full
def test_a_trial_that_stands_still_is_complete_with_its_best_evaluation(assign: Assign, tmp_path: Path) -> None:
    whole, early = Memory(tmp_path / "whole"), Memory(tmp_path / "early")
    assert run(assign, whole).reason is None
    finished = run(assign, early, RULE)
    assert (finished.status, finished.reason) == ("complete", Reason.EARLY_STOPPING)
    end = len(early.metrics)
    assert 3 <= end < len(whole.metrics) == 8
    assert early.metrics == whole.metrics[:end], "the learning rate's schedule is that of the whole trial"
    scores = [metrics["auc"] for metrics in early.metrics]
    best = scores.index(max(scores)) + 1
    assert best == end - 2, scores
    assert early.named("best").name == f"a1-s{best}.best.safetensors"
    assert [told["resume"] is None for told in early.reports] == [False] * (end - 1) + [True]
    assert early.lines[-1] == (
        f"ends early, after evaluation {end} of 8: none of the last 2 was better than auc {max(scores):.4f} by more "
        f"than 0.001 (early_stopping); its best one is {best}"
    )
    result, _ = perform(lambda *_: finished, assign(), early, WARM)
    assert (result.status, result.reason) == ("complete", Reason.EARLY_STOPPING)


@pytest.mark.parametrize("stop", [4, pytest.param(3, marks=pytest.mark.full), pytest.param(1, marks=pytest.mark.full)])
def test_a_resumed_trial_ends_at_the_same_evaluation(assign: Assign, tmp_path: Path, stop: int) -> None:
    """Also where the worker was killed before the file of its last evaluations, and at the one that ends the trial."""
    whole, folder = Memory(tmp_path / "whole"), tmp_path / "parts"
    run(assign, whole, RULE)
    end = len(whole.metrics)
    first = Memory(folder, lambda step: Decision.STOP if step == stop else Decision.CONTINUE)
    with pytest.raises(Ended):
        run(assign, first, RULE)
    second = Memory(folder)
    assert stop < end
    assert run(assign, second, RULE, attempt=2, checkpoint=first.checkpoint()).reason is Reason.EARLY_STOPPING
    assert [told["step"] for told in second.reports] == list(range(stop + 1, end + 1))
    assert first.metrics + second.metrics == whole.metrics
    assert second.lines[-1] == whole.lines[-1]
    one = load_file(whole.named("best"))
    two = load_file(next(told["best"] for told in reversed(first.reports + second.reports) if told["best"]))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.full
def test_a_trial_killed_after_its_last_report_ends_there_again(assign: Assign, tmp_path: Path) -> None:
    first, second = Memory(tmp_path / "1"), Memory(tmp_path / "2")
    run(assign, first, RULE)
    last = next(told for told in reversed(first.reports) if told["resume"])
    shutil.copytree(first.folder, second.folder, dirs_exist_ok=True)
    first.reports = first.reports[: last["step"]]
    found = run(assign, second, RULE, attempt=2, checkpoint=first.checkpoint())
    assert (found.reason, len(second.reports)) == (Reason.EARLY_STOPPING, 1)
    anew = Memory(tmp_path / "3")
    assert run(assign, anew, RULE, attempt=3, checkpoint=Checkpoint()).reason is Reason.EARLY_STOPPING
    assert [told["step"] for told in anew.reports] == list(range(1, last["step"] + 2))


@pytest.mark.full
def test_a_file_of_a_version_without_early_stopping_is_read(assign: Assign, tmp_path: Path) -> None:
    """Its scores before are not known: the count begins where the trial goes on."""
    first = Memory(tmp_path, lambda step: Decision.STOP if step == 2 else Decision.CONTINUE)
    with pytest.raises(Ended):
        run(assign, first)
    file = first.named("resume")
    file.write_bytes(file.read_bytes().replace(b"standstill", b"standstall"))
    second = Memory(tmp_path)
    assert run(assign, second, RULE, attempt=2, checkpoint=first.checkpoint()).reason is Reason.EARLY_STOPPING
    assert "goes on after evaluation 2" in "".join(second.lines)


def test_without_a_margin_it_ends_where_transformers_would(tmp_path: Path) -> None:
    draw = random.Random(0)
    for patience in (1, 2, 3) * 10:
        scores = [draw.choice([0.1, 0.2, 0.3, 0.4]) + 0.02 * step for step in range(12)]
        rule, known = EarlyStopping(patience=patience), dict(enumerate(scores, start=1))
        ends = [rule.ends({step: known[step] for step in range(1, end + 1)}, maximize=True) for end in known]
        assert (ends.index(True) + 1 if True in ends else 12) == by_transformers(scores, patience, tmp_path)


def by_transformers(scores: list[float], patience: int, folder: Path) -> int:
    """Return the evaluation after which transformers' Trainer would stop; the last one where it would not."""
    arguments = TrainingArguments(str(folder), metric_for_best_model="auc", greater_is_better=True)
    callback, state, control = EarlyStoppingCallback(patience), TrainerState(), TrainerControl()
    for step, score in enumerate(scores, start=1):
        callback.on_evaluate(arguments, state, control, {"eval_auc": score})
        if state.best_metric is None or score > state.best_metric:  # as Trainer does after its callbacks
            state.best_metric = score
        if control.should_training_stop:
            return step
    return len(scores)
