"""Trials of a tiny model: they learn, are reproducible, resume exactly, and end as they should."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, Checkpoint, Decision, Reason
from luthier.studies.results import Inspection
from luthier.studies.spec import is_better
from luthier.trials.child.__main__ import perform
from luthier.trials.errors import BadData, Ended
from luthier.trials.files import file_ref
from luthier.trials.jobs.train import train
from luthier.trials.memory import out_of_memory
from luthier.trials.tasks.classification import class_weights
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.schedules import schedule
from tests.support.tiers import a_few
from tests.support.tiny import tiny_csv
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
DECISIONS = (Decision.CONTINUE, Decision.PAUSE)
EVERY_OPTION = {
    "optimizer": "adam",
    "scheduler": "cosine",
    "label_smoothing": 0.1,
    "dropout": 0.2,
    "l1": 1e-5,
    "layer_decay": 0.9,
    "class_weighting": "balanced",
    "freeze_depth": 1,
    "max_length": 12,
}


def test_it_learns(assign: Assign, session: Memory) -> None:
    finished = train(assign(), session, ModelCache())
    assert (finished.status, finished.reason) == ("complete", None)
    assert session.metrics[-1]["accuracy"] > 0.9  # two classes, alike in number
    assert [told["step"] for told in session.reports] == [1, 2, 3]
    assert finished.examples_per_second > 0
    assert finished.peak_memory_bytes > 1_000_000
    assert session.polls >= 3 * 21  # a chance to end it before each optimizer step


def test_the_same_assignment_gives_the_same_scores_cold_and_warm(assign: Assign, tmp_path: Path) -> None:
    first, second, other = Memory(tmp_path / "1"), Memory(tmp_path / "2"), Memory(tmp_path / "3")
    warm = ModelCache()
    train(assign(), first, ModelCache())
    train(assign(params={**EVERY_OPTION, "freeze_depth": 2, "dropout": 0.5}, seed=8), other, warm)
    train(assign(), second, warm)
    assert first.metrics == second.metrics != other.metrics
    one, two = (load_file(session.named("best")) for session in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_gives_another_trial(assign: Assign, tmp_path: Path) -> None:
    first, second = Memory(tmp_path / "1"), Memory(tmp_path / "2")
    train(assign(params={"epochs": 1}), first, ModelCache())
    train(assign(params={"epochs": 1}, seed=8), second, ModelCache())
    assert first.metrics != second.metrics


@pytest.mark.parametrize("params", a_few(1, [EVERY_OPTION, {}, {"optimizer": "sgd", "learning_rate": 0.1}]))
@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.full), 3])
def test_a_resumed_trial_goes_on_as_if_never_interrupted(
    assign: Assign, tmp_path: Path, params: dict[str, object], stop: int
) -> None:
    spec = {"evaluations_per_epoch": 2}
    params = {**params, "epochs": 2}
    whole = Memory(tmp_path / "whole")
    train(assign(params=params, spec=spec), whole, ModelCache())

    folder = tmp_path / "parts"
    first = Memory(folder, lambda step: Decision.STOP if step == stop else Decision.CONTINUE)
    with pytest.raises(Ended):
        train(assign(params=params, spec=spec), first, ModelCache())
    second = Memory(folder)
    train(assign(params=params, spec=spec, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())

    assert [told["step"] for told in second.reports] == list(range(stop + 1, 5))
    assert first.metrics + second.metrics == whole.metrics
    improved = [[told["best"] is not None for told in s.reports] for s in (first, second, whole)]
    assert improved[0] + improved[1] == improved[2]
    told = [report[kind] for s in (first, second) for report in s.reports for kind in ("resume", "best")]
    names = [path.name for path in told if path]
    assert len(names) == len(set(names))
    assert set(names) == {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("params", a_few(1, [EVERY_OPTION, {"optimizer": "sgd", "learning_rate": 0.1}]))
def test_a_trial_that_pauses_at_each_rung_is_the_trial_that_never_did(
    assign: Assign, tmp_path: Path, params: dict[str, object]
) -> None:
    """Nothing is trained while it waits for the decision, and its file is written whatever it costs."""
    spec = {"evaluations_per_epoch": 2, "pruner": {"name": "asha", "reduction_factor": 2}}
    space = {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}, "epochs": {"low": 1, "high": 3}}
    params = {**params, "epochs": 3}
    assigned = assign(params=params, spec=spec | {"space": space})
    whole = Memory(tmp_path / "whole")
    train(assigned, whole, ModelCache())

    checkpoint, parts = Checkpoint(), list[Memory]()
    for attempt, rung in enumerate((1, 2, 4), 1):
        part = Memory(tmp_path / "parts", lambda step, rung=rung: DECISIONS[step == rung])  # type: ignore[misc]
        again = assigned.model_copy(update={"attempt": attempt, "checkpoint": checkpoint})
        paused = train(again, part, ModelCache())
        assert paused.status == "paused"
        assert paused.resume is not None
        assert part.reports[-1]["step"] == rung
        checkpoint = Checkpoint(step=rung, resume=file_ref(paused.resume))
        parts.append(part)
    last = Memory(tmp_path / "parts", lambda step: Decision.PAUSE)  # at its last evaluation there is nothing to save
    assert train(assigned.model_copy(update={"attempt": 4, "checkpoint": checkpoint}), last, ModelCache()).status == (
        "complete"
    )
    assert [metrics for part in (*parts, last) for metrics in part.metrics] == whole.metrics


def test_best_keeps_the_best_evaluation_and_last_the_latest(assign: Assign, tmp_path: Path) -> None:
    best, last = Memory(tmp_path / "best"), Memory(tmp_path / "last")
    train(assign(spec={"objective": {"metric": "loss"}}), best, ModelCache())
    spec = {"objective": {"metric": "loss", "direction": "minimize", "measurement": "last"}}
    train(assign(spec=spec), last, ModelCache())
    record: float | None = None
    for told in best.reports:
        better = record is None or is_better(told["metrics"]["loss"], record, maximize=False)
        assert (told["best"] is not None) == better
        record = told["metrics"]["loss"] if better else record
    assert all(told["best"] for told in last.reports)
    assert [told["resume"] is None for told in last.reports] == [False, False, True]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_divergence_ends_the_trial_as_pruned(assign: Assign, session: Memory, optimizer: str) -> None:
    params = {"learning_rate": 1e6 if optimizer == "sgd" else 10.0, "optimizer": optimizer, "max_grad_norm": 0.0}
    params |= {"warmup_ratio": 0.0, "weight_decay": 10.0, "scheduler": "constant", "epochs": 40}
    if optimizer == "adamw":
        params["learning_rate"] = 1e30
    assignment = assign()
    finished = train(assignment.model_copy(update={"params": assignment.params | params}), session, ModelCache())
    assert (finished.status, finished.reason) == ("pruned", Reason.DIVERGED)
    assert all(value is not None for metrics in session.metrics for value in metrics.values())


def test_frozen_blocks_stay_as_they_are_and_the_rest_moves(assign: Assign, session: Memory) -> None:
    warm = ModelCache()
    opened = warm.open(assign())
    train(assign(params={"freeze_depth": 1, "weight_decay": 0.5}), session, warm)
    now = dict(opened.pretrained.model.named_parameters())
    frozen = opened.backbone.frozen(1)
    assert any("layer.0" in name for name in frozen)
    assert any("embeddings" in name for name in frozen)
    for name, tensor in opened.pretrained.pristine.items():
        if name in now:
            assert torch.equal(now[name], tensor) == (name in frozen), name
    assert set(load_file(session.named("best"))).isdisjoint(frozen)


SHORT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]


def _refuse_large_batches(
    warm: ModelCache, assignment: Assignment, most: int, error: Exception = SHORT_OF_MEMORY[0]
) -> tuple[nn.Module, list[int]]:
    """Make the model's forward run out of memory above `most` rows, as a GPU would."""
    model, sizes = warm.open(assignment).pretrained.model, []

    def hook(module: nn.Module, args: tuple[object, ...], inputs: dict[str, torch.Tensor]) -> None:
        if len(inputs["input_ids"]) > most:
            raise error
        sizes.append(len(inputs["input_ids"]))

    model.register_forward_pre_hook(hook, with_kwargs=True)
    return model, sizes


@pytest.mark.full
@pytest.mark.parametrize("weighting", ["none", "balanced"])
def test_too_little_memory_is_answered_by_smaller_pieces_of_the_same_batch(
    assign: Assign, tmp_path: Path, weighting: str
) -> None:
    params = {"dropout": 0.0, "batch_size": 12, "class_weighting": weighting, "label_smoothing": 0.1}
    params |= {"optimizer": "sgd", "learning_rate": 0.05}
    plain, small = Memory(tmp_path / "plain"), Memory(tmp_path / "small")
    train(assign(params=params), plain, ModelCache())
    warm = ModelCache()
    _, sizes = _refuse_large_batches(warm, assign(), most=5)
    train(assign(params=params), small, warm)
    assert warm.micro_batch.limit == 3
    assert max(sizes) <= 5
    first, later = (line for line in small.lines if "effective batch: 12 examples" in line)
    assert first.endswith("at once")
    assert later.startswith("memory did not suffice; ")
    assert later.endswith("in 4 micro-batches of at most 3, whose gradients add up")
    for one, two in zip(plain.metrics, small.metrics, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    one_file, two_file = load_file(plain.named("best")), load_file(small.named("best"))
    for name, tensor in one_file.items():
        assert torch.allclose(tensor, two_file[name], atol=1e-5), name


@pytest.mark.parametrize(
    "error",
    [SHORT_OF_MEMORY[0], *(pytest.param(error, marks=pytest.mark.full) for error in SHORT_OF_MEMORY[1:])],
    ids=lambda error: type(error).__name__,
)
def test_every_kind_of_too_little_memory_is_answered_alike(assign: Assign, session: Memory, error: Exception) -> None:
    """Smaller run_halving; where those do not help, the reason `oom` and a new process."""
    warm, work = ModelCache(), assign(params={"epochs": 1})
    _refuse_large_batches(warm, work, most=5, error=error)
    assert train(work, session, warm).status == "complete"
    assert warm.micro_batch.limit == 4

    def entry(*_: object) -> None:
        raise error

    outcome, replace = perform(entry, work, session, warm)
    assert outcome.reason is Reason.OOM
    assert replace
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_what_another_worker_found_to_fit_is_where_this_one_starts(assign: Assign, session: Memory) -> None:
    warm, work = ModelCache(), assign(params={"epochs": 1}, micro_batch=3)
    _, sizes = _refuse_large_batches(warm, work, most=3)
    train(work, session, warm)
    assert warm.micro_batch.limit == 3, "no larger one was tried, which would have run out of memory"
    warm.open(assign(micro_batch=5))
    assert warm.micro_batch.limit == 3
    warm.open(assign(micro_batch=2))
    assert warm.micro_batch.limit == 2
    assert max(sizes[: len(sizes) - 4]) == 3


@pytest.mark.full
def test_too_little_memory_for_one_example_is_a_failure(assign: Assign, session: Memory) -> None:
    warm = ModelCache()
    _refuse_large_batches(warm, assign(), most=0)
    with pytest.raises(torch.OutOfMemoryError):
        train(assign(), session, warm)
    assert warm.micro_batch.limit == 1
    assert session.reports == []


def test_more_evaluations_per_epoch_come_at_even_shares_of_the_data(assign: Assign, session: Memory) -> None:
    train(assign(params={"epochs": 1, "batch_size": 16}, spec={"evaluations_per_epoch": 4}), session, ModelCache())
    assert [told["step"] for told in session.reports] == [1, 2, 3, 4]
    assert session.reports[-1]["resume"] is None


def test_data_that_changed_since_the_inspection_is_refused(assign: Assign, session: Memory, tmp_path: Path) -> None:
    path = tiny_csv(tmp_path / "mine.csv")
    spec, warm = {"dataset": {"source": str(path)}}, ModelCache()
    found = warm.open(assign(spec=spec)).data.fingerprint
    inspection = Inspection(blocks=[], trainable_parameters=[], label_names=[], labels={}, rows={}, fingerprint=found)
    assignment = assign(spec=spec, inspection=inspection, params={"epochs": 1})
    train(assignment, session, warm)
    tiny_csv(path, rows=120)
    for process in (warm, ModelCache()):
        with pytest.raises(BadData, match="changed since the study began"):
            train(assignment, session, process)
    path.write_text(path.read_text())  # a new time, but the same content


def test_a_first_attempt_that_left_no_file_starts_anew(assign: Assign, session: Memory) -> None:
    train(assign(params={"epochs": 1}, attempt=2, checkpoint=Checkpoint(step=1)), session, ModelCache())
    assert [told["step"] for told in session.reports] == [1]


def test_schedules_warm_up_and_decay() -> None:
    linear = schedule(complete({"warmup_ratio": 0.2, "scheduler": "linear"}), 10)
    assert [round(linear(i), 3) for i in (0, 1, 2, 6, 9)] == [0.333, 0.667, 1.0, 0.5, 0.125]
    cosine = schedule(complete({"warmup_ratio": 0.0, "scheduler": "cosine"}), 10)
    assert cosine(0) == 1.0
    assert cosine(5) == pytest.approx(0.5)
    assert 0 < cosine(9) < 0.03
    assert schedule(complete({"warmup_ratio": 0.0, "scheduler": "constant"}), 10)(9) == 1.0
    assert 0 < schedule(complete({"warmup_ratio": 1.0, "scheduler": "linear"}), 3)(2) <= 1.0


def test_balanced_weights_are_scikit_learns() -> None:
    import numpy
    from sklearn.utils.class_weight import compute_class_weight

    labels = torch.tensor([0] * 5 + [1] * 3 + [2])
    expected = compute_class_weight("balanced", classes=numpy.arange(3), y=labels.numpy())
    weights = class_weights(labels, 3, {"class_weighting": "balanced"})
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())
