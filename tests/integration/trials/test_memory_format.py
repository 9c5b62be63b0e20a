"""Channels last: which models get it, what it leaves as it was, and trials that resume and use the cache exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.semantics import CHANNELS_LAST
from luthier.trials.errors import Ended
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.train import train
from luthier.trials.model.memory_format import is_channels_last, is_convolutional
from luthier.trials.training.layout import Layout
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import open_trial
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
FAMILIES = [("resnet", True), ("efficientnet", True), ("vit", False), ("swin", False)]


@pytest.fixture
def pictures(tmp_path: Path, assign: Assign) -> Callable[..., Assignment]:
    """pictures(architecture, semantics, params, ...) over a tiny model and images of two classes."""
    source = {"source": str(tiny_data("image-classification", tmp_path / "data", rows=40))}

    def make(architecture: str, semantics: int = CHANNELS_LAST, **fields: Any) -> Assignment:
        model = tmp_path / architecture
        if not model.exists():
            ARCHITECTURES[architecture].build(model)
        spec = {"task": "image-classification", "model": str(model), "dataset": source, "semantics": semantics}
        params = {"epochs": 2, "learning_rate": 2e-3, "freeze_depth": 1} | fields.pop("params", {})
        return assign(fields.pop("kind", AssignmentKind.TRAIN), spec=spec, params=params, **fields)

    return make


def test_a_model_is_convolutional_by_its_weights() -> None:
    with torch.device("meta"):
        for config, expected in (
            (hf.ResNetConfig(), True),
            (hf.MobileNetV2Config(), True),
            (hf.PoolFormerConfig(), True),
            (hf.ConvNextConfig(), False),
            (hf.ViTConfig(), False),
            (hf.SegformerConfig(), False),
            (hf.BertConfig(num_hidden_layers=1), False),
        ):
            assert is_convolutional(hf.AutoModel.from_config(config)) == expected, config.model_type


@pytest.mark.full
@pytest.mark.parametrize(("architecture", "expected"), a_few(1, FAMILIES))
def test_trials_of_new_studies_compute_so(
    pictures: Callable[..., Assignment], tmp_path: Path, architecture: str, expected: bool
) -> None:
    old, new, warm = Memory(tmp_path / "old"), Memory(tmp_path / "new"), ModelCache()
    train(pictures(architecture, CHANNELS_LAST - 1), old, warm)
    train(pictures(architecture), new, warm)
    assert any("channels last" in line for line in new.lines) == expected
    assert not any("channels last" in line for line in old.lines)
    for one, other in zip(old.metrics, new.metrics, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    again = Memory(tmp_path / "again")
    train(pictures(architecture, CHANNELS_LAST - 1), again, warm)
    assert again.metrics == old.metrics, "a model that was in channels last computes as one that never was"


@pytest.mark.full
@pytest.mark.parametrize("architecture", a_few(1, ["resnet", "efficientnet", "mobilenet-v2"]))
def test_a_resumed_trial_goes_on_exactly(
    pictures: Callable[..., Assignment], tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fused step takes weights, gradients and the optimizer's state as rows of numbers: all must lie alike."""
    monkeypatch.setattr("luthier.trials.training.progress.RESUME_COSTS", 0)
    whole, second = Memory(tmp_path / "whole"), Memory(tmp_path / "parts")
    first = Memory(tmp_path / "parts", lambda step: Decision.STOP)
    train(pictures(architecture), whole, ModelCache())
    with pytest.raises(Ended):
        train(pictures(architecture), first, ModelCache())
    assert first.reports[-1]["resume"] is not None
    train(pictures(architecture, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert any("goes on after evaluation 1" in line for line in second.lines)
    assert first.metrics + second.metrics == whole.metrics


@pytest.mark.full
@pytest.mark.parametrize("architecture", a_few(1, ["resnet", "efficientnet"]))
def test_cached_activations_come_back_in_the_format(
    pictures: Callable[..., Assignment], tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, whole, older = (Memory(tmp_path / name) for name in ("cached", "whole", "older"))
    train(pictures(architecture, CHANNELS_LAST - 1), older, ModelCache())
    train(pictures(architecture), cached, ModelCache())
    built = [line for line in cached.lines if "frozen prefix of depth 1" in line]
    assert len(built) == 2, "activations of another memory format are others' files"
    monkeypatch.setenv("LUTHIER_CACHE_MEMORY", "0")
    monkeypatch.setenv("LUTHIER_CACHE_DISK", "0")
    train(pictures(architecture), whole, ModelCache())
    assert not any("frozen prefix of depth 1" in line for line in whole.lines)
    for one, other in zip(cached.metrics, whole.metrics, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.full
def test_the_winner_is_measured_as_people_load_it(pictures: Callable[..., Assignment], tmp_path: Path) -> None:
    session, warm = Memory(tmp_path / "session"), ModelCache()
    train(pictures("resnet"), session, warm)
    with open_trial(pictures("resnet"), session, warm) as trial:
        assert is_channels_last(trial.model)
    work = pictures("resnet", kind=AssignmentKind.EVALUATE, checkpoint=session.checkpoint())
    evaluation = evaluate(work, session, warm)
    assert not is_channels_last(trial.model)
    assert evaluation.test is not None


def test_a_model_whose_code_needs_the_usual_format_keeps_it() -> None:
    class Flat(torch.nn.Sequential):
        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = self[1](self[0](inputs["pixel_values"]).relu())
            return values.view(len(values), -1)

    model = Flat(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))
    layout, lines = Layout(model), list[str]()

    def forward(inputs: Any) -> dict[str, torch.Tensor]:
        return {"logits": model(**inputs)}

    inputs = {"pixel_values": torch.randn(2, 3, 8, 8)}
    layout.settle("float32 on cpu", lambda: inputs, forward, forward, lines.append)
    assert is_convolutional(model)
    assert not is_channels_last(model)
    assert not lines
