"""Mixtures of images: areas and weights, gradients in pieces, and trials that repeat themselves and resume exactly."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, Decision
from luthier.trials.errors import Ended
from luthier.trials.jobs.train import train
from luthier.trials.tasks.image_mixing import drawn_box
from luthier.trials.tasks.mixing import OTHER, SHARE
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.fixture
def pictures(tmp_path: Path, assign: Assign) -> Callable[..., Assignment]:
    """pictures(augmentation, params, ...) over a tiny ConvNeXt and images of two classes."""
    model = ARCHITECTURES["convnext"].build(tmp_path / "model")
    source = {"source": str(tiny_data("image-classification", tmp_path / "data", rows=60)), "test": 0}

    def make(augmentation: str, params: dict[str, Any] | None = None, **fields: Any) -> Assignment:
        spec = {"task": "image-classification", "model": str(model), "dataset": source}
        spec |= {"augmentation": augmentation, "evaluations_per_epoch": 2}
        return assign(spec=spec, params={"epochs": 1, "learning_rate": 2e-3} | (params or {}), **fields)

    return make


@given(height=st.integers(1, 300), width=st.integers(1, 300), share=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_a_box_lies_in_the_image_and_is_at_most_as_large_as_its_share(
    height: int, width: int, share: float, seed: int
) -> None:
    random.seed(seed)
    top, bottom, left, right = drawn_box(height, width, share)
    assert 0 <= top <= bottom <= height
    assert 0 <= left <= right <= width
    side = (1 - share) ** 0.5
    assert (bottom - top) * (right - left) <= (side * height + 0.5) * (side * width + 0.5)
    if share == 1:
        assert (bottom - top) * (right - left) == 0


@pytest.mark.parametrize("augmentation", ["mixup", "cutmix"])
def test_a_share_is_what_is_left_of_an_image(pictures: Callable[..., Assignment], augmentation: str) -> None:
    study = ModelCache().open(pictures(augmentation))
    encoded = study.encoded("train", 0)
    # Each image has one colour, its number, so that all of its parts have that colour, too.
    columns = {"image": [numpy.full_like(image, row) for row, image in enumerate(encoded.columns["image"])]}
    encoded = replace(encoded, columns=columns).tuned(complete({"mixup_alpha": 1}))
    random.seed(0)
    shares = []
    for _ in range(20):
        batch, rows = encoded.drawn(range(40))
        targets = study.task.collate_targets(batch, rows)
        assert torch.equal(targets["labels"], study.task.collate_targets(encoded, range(40))["labels"])
        for row in rows:
            share, pixels = float(targets[SHARE][row]), batch.columns["pixel_values"][row].double()
            colours = set(pixels.unique().tolist())
            shares.append(share)
            if augmentation == "mixup":
                (colour,) = colours
                partners = [v for v in range(40) if abs(share * row + (1 - share) * v - colour) < 0.51]
                assert any(encoded.targets["labels"][v] == targets[OTHER][row] for v in partners)
                continue
            assert colours == {float(row)} or (pixels == row).double().mean().item() == pytest.approx(share)
            for other in colours - {float(row)}:
                assert encoded.targets["labels"][int(other)] == targets[OTHER][row]
    assert 0.45 < sum(shares) / len(shares) < (0.55 if augmentation == "mixup" else 0.75)


@pytest.mark.parametrize("augmentation", ["mixup", "cutmix"])
def test_a_batch_in_pieces_has_the_same_gradient(pictures: Callable[..., Assignment], augmentation: str) -> None:
    params = {"class_weighting": "balanced", "label_smoothing": 0.1}
    study = ModelCache().open(pictures(augmentation))
    encoded = study.encoded("train", 0).tuned(complete({"mixup_alpha": 1}))
    model = study.pretrained.model.eval()
    found = []
    for limit in (None, 5, 2, 1):
        size = MicroBatch()
        size.limit = limit
        engine = Engine(model, study.task, size, study.loss(encoded, complete(params)))
        random.seed(5)
        loss = engine.gradient(encoded, range(8))
        gradient = torch.cat([p.grad.flatten() for p in engine.trained if p.grad is not None])
        found.append((loss, gradient))
    for loss, gradient in found[1:]:
        assert torch.allclose(loss, found[0][0], rtol=1e-4)
        assert torch.allclose(gradient, found[0][1], rtol=1e-3, atol=1e-4 * float(found[0][1].abs().max()))


def test_an_alpha_of_0_mixes_nothing(pictures: Callable[..., Assignment]) -> None:
    study = ModelCache().open(pictures("cutmix"))
    encoded = study.encoded("train", 0)
    random.seed(0)
    expected = study.task.collate(encoded, [3, 1, 2])
    random.seed(0)
    batch, rows = encoded.tuned(complete({"mixup_alpha": 0})).drawn([3, 1, 2])
    assert torch.equal(study.task.collate(batch, rows)["pixel_values"], expected["pixel_values"])
    assert study.task.collate_targets(batch, rows)[SHARE].tolist() == [1, 1, 1]


@pytest.mark.full
@pytest.mark.parametrize("augmentation", a_few(1, ["cutmix", "mixup"]))
def test_a_mixed_trial_repeats_itself_and_resumes_exactly(
    pictures: Callable[..., Assignment], tmp_path: Path, augmentation: str
) -> None:
    standard, whole = Memory(tmp_path / "standard"), Memory(tmp_path / "whole")
    train(pictures("standard"), standard, ModelCache())
    train(pictures(augmentation), whole, ModelCache())
    assert whole.metrics != standard.metrics
    first, second = Memory(tmp_path / "parts", lambda step: Decision.STOP), Memory(tmp_path / "parts")
    with pytest.raises(Ended):
        train(pictures(augmentation), first, ModelCache())
    train(pictures(augmentation, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "augmentation"),
    [
        ("image-multilabel-classification", "mixup"),
        ("image-multilabel-classification", "cutmix"),
        ("image-regression", "mixup"),
    ],
)
def test_label_sets_and_numbers_are_mixed_too(tmp_path: Path, assign: Assign, task: str, augmentation: str) -> None:
    model = ARCHITECTURES["convnext"].build(tmp_path / "model")
    source = {"source": str(tiny_data(task, tmp_path / "data", rows=60)), "test": 0}

    def assignment(**fields: Any) -> Assignment:
        spec = {"task": task, "model": str(model), "dataset": source}
        spec |= {"augmentation": augmentation, "evaluations_per_epoch": 2}
        return assign(spec=spec, params={"epochs": 1, "learning_rate": 2e-3, "mixup_alpha": 1.0}, **fields)

    study = ModelCache().open(assignment())
    encoded = study.encoded("train", 0)
    columns = {"image": [numpy.full_like(image, row) for row, image in enumerate(encoded.columns["image"])]}
    encoded = replace(encoded, columns=columns).tuned(complete({"mixup_alpha": 1}))
    random.seed(0)
    batch, rows = encoded.drawn(range(30))
    plain, mixed = (study.task.collate_targets(split, range(30)) for split in (encoded, batch))
    if task == "image-regression":  # each number is its image's colour, so that the mixtures' must be theirs
        numbers = torch.arange(len(encoded), dtype=torch.double)
        batch, rows = replace(encoded, targets={"numbers": numbers}).drawn(range(30))
        mixed = study.task.collate_targets(batch, rows)["numbers"]
        colours = torch.stack([batch.columns["pixel_values"][row].double().mean() for row in rows])
        assert torch.allclose(mixed, colours, atol=0.51)
        assert not torch.allclose(mixed, numbers[:30], atol=3)
    else:
        assert torch.equal(mixed["labels"], plain["labels"])
        assert sorted(mixed[OTHER].tolist()) == sorted(plain["labels"].tolist())
        assert 0.3 < float(mixed[SHARE].mean()) < 0.8
    whole = Memory(tmp_path / "whole")
    train(assignment(), whole, ModelCache())
    first, second = Memory(tmp_path / "parts", lambda step: Decision.STOP), Memory(tmp_path / "parts")
    with pytest.raises(Ended):
        train(assignment(), first, ModelCache())
    train(assignment(attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics
