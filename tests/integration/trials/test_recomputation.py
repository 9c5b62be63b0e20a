"""Gradient checkpointing: the same gradients and the same trial, in less memory."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.jobs.batch_fits import measure
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.seeding import seed_everything
from luthier.trials.training.setup import prepare
from tests.support.architectures import ARCHITECTURES, of_models, tiny_data
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
ON = {"gradient_checkpointing": True}


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that exist at the same time, of those that are made within it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage.data_ptr()
        if key in self._known or not key:
            return
        size = self._known[key] = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.now -= size
        self._known.pop(key, None)


def gradients(engine: Engine, rows: Any, model: nn.Module) -> dict[str, torch.Tensor]:
    seed_everything(5)
    engine.gradient(rows, list(range(len(rows))))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("strategy", ["full", pytest.param("lora", marks=pytest.mark.full)])
@pytest.mark.parametrize("name", of_models(timm=False))
def test_gradients_and_statistics_are_the_same(assign: Assign, tmp_path: Path, name: str, strategy: str) -> None:
    architecture = ARCHITECTURES[name]
    data = {"source": str(tiny_data(architecture.task, tmp_path / "data", rows=16)), "validation": 0.25, "test": 0.25}
    spec = {"task": architecture.task, "model": str(architecture.build(tmp_path / "model")), "dataset": data}
    work, warm = assign(spec=spec, params={"strategy": strategy, "freeze_depth": 1}), ModelCache()
    opened = warm.open(work)
    results = []
    for on in (False, True):
        model, backbone = prepare(opened, work.params, seed=3)
        rows = opened.encoded("test", 128)
        engine = Engine(model, opened.task, warm.micro_batch, opened.loss(rows, work.params))
        engine.recomputed = backbone.blocks[1:] if on else ()
        backbone.train_mode()
        found = gradients(engine, rows, model)
        drawn = torch.rand(1), *(p.detach().clone() for p in model.buffers())
        results.append((found, drawn))
        assert all("forward" not in block.__dict__ for block in backbone.blocks)
    (plain, after), (again, after_again) = results
    assert plain.keys() == again.keys()
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    for key, gradient in plain.items():
        torch.testing.assert_close(again[key], gradient, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()), msg=key)
    assert all(torch.equal(a, b) for a, b in zip(after, after_again, strict=True)), "draws and statistics of batches"


@pytest.mark.full
@pytest.mark.parametrize(
    "params",
    [
        {"freeze_depth": 1, "dropout": 0.2},
        pytest.param({"freeze_depth": 0, "dropout": 0.2}, marks=pytest.mark.full),
        pytest.param({"freeze_depth": 1, "strategy": "lora", "lora_variant": "dora"}, marks=pytest.mark.full),
    ],
)
def test_a_trial_scores_the_same_with_cache_and_shortcuts(assign: Assign, tmp_path: Path, params: Any) -> None:
    plain, again = Memory(tmp_path / "plain"), Memory(tmp_path / "again")
    train(assign(params=params | {"epochs": 2}), plain, ModelCache())
    train(assign(params=params | {"epochs": 2}, spec=ON), again, ModelCache())
    for one, other in zip(plain.metrics, again.metrics, strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    told = [line for line in again.lines if line.startswith("gradient checkpointing")]
    assert len(told) == 1
    assert not any(line.startswith("gradient checkpointing") for line in plain.lines)


def test_less_memory_is_held(assign: Assign) -> None:
    work, warm = assign(params={"dropout": 0.1}), ModelCache()
    opened = warm.open(work)
    peaks = []
    for on in (False, True):
        model, backbone = prepare(opened, work.params, seed=3)
        rows = opened.encoded("train", 128)
        engine = Engine(model, opened.task, warm.micro_batch, opened.loss(rows, work.params))
        engine.recomputed = backbone.blocks if on else ()
        backbone.train_mode()
        with PeakBytes() as memory:
            engine.gradient(rows, list(range(64)))
        peaks.append(memory.most)
    assert peaks[1] < 0.75 * peaks[0], peaks


def test_an_inspection_tells_of_less_memory(assign: Assign, tmp_path: Path) -> None:
    warm = ModelCache()
    plain, again = assign(), assign(spec=ON)
    opened = warm.open(plain)
    needs = [measure(opened, warm.micro_batch, work.params, work) for work in (plain, again)]
    assert needs[1].per_example < 0.8 * needs[0].per_example
    assert inspect(assign(AssignmentKind.INSPECT, spec=ON), Memory(tmp_path), ModelCache()).estimates is not None
