"""Which batch sizes fit in memory, as an inspection tells before any trial."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.space import Space
from luthier.trials.errors import BadData
from luthier.trials.jobs import batch_fits as fits
from luthier.trials.jobs import memory_limit
from luthier.trials.jobs.batch_fits import batch_sizes, measure
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.memory_limit import MemoryLimit, cpu_limit
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
SIZES = {"space": {"batch_size": [32, 8], "epochs": 1}}


@pytest.mark.parametrize(
    ("dimension", "sizes"),
    [
        ([64, 8, 24], [8, 24, 64]),
        (16, [16]),
        (None, [12]),
        ({"low": 5, "high": 40}, [5, 8, 16, 32, 40]),
        ({"low": 8, "high": 32}, [8, 16, 32]),
        ({"low": 3, "high": 3}, [3]),
    ],
)
def test_the_sizes_looked_at_are_the_choices_or_a_ranges_ends_and_powers_of_two(
    dimension: Any, sizes: list[int]
) -> None:
    space = Space.model_validate({} if dimension is None else {"batch_size": dimension})
    assert batch_sizes(space, {"batch_size": 12}) == sizes


def test_an_inspection_says_what_each_batch_size_takes(assign: Assign, session: Memory) -> None:
    found = inspect(assign(AssignmentKind.INSPECT, spec=SIZES), session, ModelCache())
    assert found.estimates is not None
    small, large = found.estimates.batch_sizes
    assert [(fit.batch_size, fit.fits, fit.micro_batch) for fit in (small, large)] == [(8, True, 8), (32, True, 32)]
    weights = 4 * found.trainable_parameters[0]
    assert 4 * weights < small.memory_bytes < large.memory_bytes, "weights, gradients and AdamW's two states at least"


def test_two_small_batches_tell_of_a_large_one(assign: Assign, monkeypatch: pytest.MonkeyPatch) -> None:
    work, warm = assign(), ModelCache()
    opened = warm.open(work)
    told = measure(opened, warm.micro_batch, work.params, work)
    monkeypatch.setattr(fits, "PROBES", (32, 64))
    real = measure(opened, warm.micro_batch, work.params, work)
    for examples in (32, 64):  # the longest ones differ a little in length
        assert real.bytes(examples) * 0.97 < told.bytes(examples) < real.bytes(examples) * 1.2
    frozen = measure(opened, warm.micro_batch, {**work.params, "freeze_depth": 2}, work)
    assert frozen.bytes(32) < 0.5 * told.bytes(32)


def test_what_does_not_fit_trains_in_pieces_that_do(
    assign: Assign, session: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, work = ModelCache(), assign(AssignmentKind.INSPECT, spec=SIZES)
    opened = warm.open(work)
    need = measure(opened, warm.micro_batch, {**work.params, "freeze_depth": 0}, work)
    monkeypatch.setattr(fits, "cpu_limit", lambda weights: MemoryLimit(now=need.bytes(11), total=1e18))
    found = inspect(work, session, warm).estimates
    assert found is not None
    assert [(fit.fits, fit.micro_batch) for fit in found.batch_sizes] == [(True, 8), (False, 8)]
    sizes: list[int] = []
    opened.pretrained.model.register_forward_pre_hook(
        lambda module, args, inputs: sizes.append(len(inputs["input_ids"])) if module.training else None,
        with_kwargs=True,
    )
    train(assign(spec=SIZES, params={"batch_size": 32, "epochs": 1}), session, warm)
    assert max(sizes) == 8, "no trial has to run out of memory to find out"


def test_a_micro_batch_of_the_users_is_kept_and_told(assign: Assign, tmp_path: Path) -> None:
    spec = SIZES | {"resources": {"micro_batch": 12}}
    warm, session = ModelCache(), Memory(tmp_path / "in parts")
    found = inspect(assign(AssignmentKind.INSPECT, spec=spec), session, warm).estimates
    assert found is not None
    assert [(fit.fits, fit.micro_batch) for fit in found.batch_sizes] == [(True, 8), (False, 12)]
    assert warm.micro_batch.limit == 12, "goes to the service with the inspection, and so to every worker"
    params = {"batch_size": 32, "epochs": 1, "dropout": 0}
    train(assign(spec=spec, params=params), session, ModelCache())
    at_once = Memory(tmp_path / "at once")
    train(assign(spec=SIZES, params=params), at_once, ModelCache())
    assert session.metrics[-1]["loss"] == pytest.approx(at_once.metrics[-1]["loss"], rel=1e-4)
    step = "effective batch: 32 examples for each optimizer step, "
    assert step + "in 3 micro-batches of at most 12, whose gradients add up" in session.lines
    assert step + "at once" in at_once.lines


def test_a_model_that_no_batch_fits_is_refused(
    assign: Assign, session: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "cpu_limit", lambda weights: MemoryLimit(now=1000, total=1000))
    with pytest.raises(BadData, match=r"one example at a time takes about .* GB, and this worker has 0\.0 GB") as error:
        inspect(assign(AssignmentKind.INSPECT), session, ModelCache())
    assert error.value.path == ["model"]


def test_room_is_what_the_machine_and_the_container_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "CGROUP", tmp_path)
    machine = cpu_limit(weights=5)
    assert 2**20 < machine.now < machine.total
    (tmp_path / "memory.max").write_text("max\n")
    assert cpu_limit(weights=5).total == machine.total
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert cpu_limit(weights=5) == MemoryLimit(now=600_005, total=1_000_000)
