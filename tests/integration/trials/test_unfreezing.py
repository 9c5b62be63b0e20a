"""Gradual unfreezing of a real model: what each step trains, and that a resumed trial goes on with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.studies.protocol import Assignment, Decision
from luthier.trials.errors import Ended
from luthier.trials.jobs.train import train
from luthier.trials.training import progress
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.unfreezing import Unfreezing
from tests.support.tiny import tiny_model
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
BLOCKS = 3


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny BERT of three blocks."""
    return tiny_model(tmp_path_factory.mktemp("deep") / "bert", layers=BLOCKS)


@pytest.fixture
def gradual(assign: Assign, deep: Path) -> Assign:
    """Return a function that makes assignments of gradual trials."""

    def make(params: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **fields: Any) -> Assignment:
        known = {"strategy": "gradual", "epochs": 4, "batch_size": 16, "weight_decay": 0.1}
        return assign(params=known | (params or {}), spec={"model": str(deep)} | (spec or {}), **fields)

    return make


class Watched(Memory):
    """A session that notes what each optimizer step changes.

    Attributes:
        moved: For each step, the layers of the parameters that it changed.
        dropping: For each step, the blocks in which dropout was on, from 1.
    """

    def __init__(self, folder: Path, work: Assignment, warm: ModelCache) -> None:
        super().__init__(folder)
        self._backbone = warm.open(work).backbone
        self._before: dict[str, torch.Tensor] = {}
        self.moved: list[set[int]] = []
        self.dropping: list[set[int]] = []
        self._backbone.model.register_forward_pre_hook(self._note_modes)

    def poll(self) -> None:
        super().poll()
        now = {name: p.detach().clone() for name, p in self._backbone.model.named_parameters()}
        changed = [name for name in now if self._before and not torch.equal(now[name], self._before[name])]
        if changed:
            self.moved.append({self._backbone.layers[name] for name in changed})
        self._before = now

    def _note_modes(self, model: torch.nn.Module, args: tuple[object, ...]) -> None:
        if model.training:
            blocks = enumerate(self._backbone.blocks, start=1)
            self.dropping.append({number for number, block in blocks if block.training})


@pytest.mark.parametrize(
    ("epochs", "depth", "stages"),
    [
        pytest.param(5, 0, [0, 1, 2, 3, 3], marks=pytest.mark.full),  # an epoch a stage, then all of it
        pytest.param(4, 2, [0, 1, 1, 1], marks=pytest.mark.full),
        (2, 0, [0, 1, 2, 3]),  # two stages an epoch
        (1, 1, [0, 1, 2]),
        pytest.param(3, 3, [0, 0, 0], marks=pytest.mark.full),
    ],
)
def test_one_block_more_trains_at_a_time_from_the_top(
    gradual: Assign, tmp_path: Path, epochs: int, depth: int, stages: list[int]
) -> None:
    work, warm = gradual({"epochs": epochs, "freeze_depth": depth}), ModelCache()
    session = Watched(tmp_path, work, warm)
    train(work, session, warm)
    steps = -(-168 // 16) * epochs
    per_stage = steps / len(stages)
    expected = []
    for step in range(steps):
        unfrozen = stages[int(step / per_stage)]
        layers = set(range(BLOCKS + 1 - unfrozen, BLOCKS + 2))  # the head's is BLOCKS + 1
        expected.append(layers | {0} if unfrozen == BLOCKS else layers)  # embeddings come with the lowest block
    assert session.moved == expected
    blocks = set(range(1, BLOCKS + 1))
    assert session.dropping == [layers & blocks for layers in expected], "what is frozen drops nothing"


def test_a_stage_begins_at_the_step_that_is_its_share() -> None:
    class Blocks:
        depth = 12

    short = Unfreezing(Blocks(), {"strategy": "gradual", "freeze_depth": 4, "epochs": 2}, 63)  # type: ignore[arg-type]
    starts = [next(step for step in range(126) if short.frozen_blocks(step) == depth) for depth in range(12, 3, -1)]
    assert starts == [14 * stage for stage in range(9)]
    for strategy in ("full", "lora"):
        other = Unfreezing(Blocks(), {"strategy": strategy, "freeze_depth": 4, "epochs": 2}, 63)  # type: ignore[arg-type]
        assert {other.frozen_blocks(step) for step in range(126)} == {4}
        assert other.is_done


@pytest.mark.full
def test_the_first_stage_is_a_trial_of_the_head_alone(gradual: Assign, tmp_path: Path) -> None:
    one, two, warm = Memory(tmp_path / "1"), Memory(tmp_path / "2"), ModelCache()
    train(gradual(), one, warm)
    train(gradual({"strategy": "full", "freeze_depth": BLOCKS}), two, warm)
    assert one.metrics[0]["loss"] == pytest.approx(two.metrics[0]["loss"], abs=1e-6)
    assert one.metrics[1]["loss"] != pytest.approx(two.metrics[1]["loss"], abs=1e-6)


def test_with_nothing_to_unfreeze_it_is_the_full_strategy(gradual: Assign, tmp_path: Path) -> None:
    one, two, warm = Memory(tmp_path / "1"), Memory(tmp_path / "2"), ModelCache()
    train(gradual({"freeze_depth": BLOCKS, "epochs": 2}), one, warm)
    train(gradual({"freeze_depth": BLOCKS, "epochs": 2, "strategy": "full"}), two, warm)
    assert one.metrics == two.metrics


@pytest.mark.full
@pytest.mark.parametrize(
    ("params", "stop"),
    [
        ({}, 3),
        pytest.param({}, 1, marks=pytest.mark.full),
        pytest.param({"freeze_depth": 1, "optimizer": "sgd", "learning_rate": 0.1}, 2, marks=pytest.mark.full),
        pytest.param({"epochs": 2, "optimizer": "adam", "weight_decay": 0.0}, 2, marks=pytest.mark.full),
    ],
)
def test_a_resumed_trial_goes_on_as_if_never_interrupted(
    gradual: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], stop: int
) -> None:
    """A block's parameters have a state of the optimizer from the stage on in which they are first trained."""
    monkeypatch.setattr(progress, "RESUME_COSTS", 0)
    spec, warm = {"evaluations_per_epoch": 2, "objective": {"metric": "loss"}}, ModelCache()
    whole, first, second = Memory(tmp_path / "whole"), Memory(tmp_path / "parts"), Memory(tmp_path / "parts")
    train(gradual(params, spec), whole, warm)
    first.decide = lambda step: Decision.STOP if step == stop else Decision.CONTINUE
    with pytest.raises(Ended):
        train(gradual(params, spec), first, warm)
    states = [name for name in load_file(first.named("resume")) if name.startswith("optimizer.")]
    assert any("classifier" in name for name in states)
    assert not any("layer.0" in name for name in states), "it is frozen until then"
    train(gradual(params, spec, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics
    one, two = (load_file(session.named("best")) for session in (second, whole))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_memory_is_told_once_all_is_trained(gradual: Assign, tmp_path: Path) -> None:
    """The service gives what a trial does not take of a GPU to others; later stages take more."""
    session = Memory(tmp_path)
    finished = train(gradual(), session, ModelCache())
    assert [told["peak_memory_bytes"] is not None for told in session.reports] == [False, False, False, True]
    assert finished.peak_memory_bytes is not None


def test_the_frozen_blocks_of_every_stage_come_from_the_cache(
    gradual: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, plain, params = Memory(tmp_path / "1"), Memory(tmp_path / "2"), {"freeze_depth": 1, "dropout": 0.0}
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path / "prefixes"))
    train(gradual(params), cached, ModelCache())
    assert sum("frozen prefix of depth 1" in line for line in cached.lines) == 2, cached.lines
    monkeypatch.setenv("LUTHIER_CACHE_DISK", "0")
    train(gradual(params), plain, ModelCache())
    for mine, theirs in zip(cached.metrics, plain.metrics, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
