"""Augmentation of training images: drawn again in each epoch, and the same with the same seed."""

import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from luthier.studies.spec import StudySpec
from luthier.trials.data.augmentation import OPERATIONS, augment
from luthier.trials.tasks.image_classification import ImageClassification
from tests.support.pictures import PROCESSORS, encoded_bytes, picture, split_of, with_processor

task = ImageClassification()


def _augmented(kind: str) -> Any:
    pretrained = with_processor(PROCESSORS["the shorter side, then a crop"])
    items = [encoded_bytes(picture(size=size)) for size in ((50, 40), (31, 90), (400, 300), (2, 1))]
    return task.encode_augmented(pretrained, split_of(*items), kind, 0)


@pytest.mark.parametrize("kind", ["standard", "trivial"])
def test_augmentation_draws_anew_and_repeats_with_the_seed(kind: str) -> None:
    encoded, rows = _augmented(kind), [0, 1, 2, 3, 0, 0]
    assert encoded.augmented, "a large image is kept small"
    assert max(encoded.columns["image"][2].shape) <= 50, "a large image is kept small"
    random.seed(1)
    first, second = (task.collate(encoded, rows)["pixel_values"] for _ in range(2))
    random.seed(1)
    assert torch.equal(task.collate(encoded, rows)["pixel_values"], first)
    assert first.shape == (6, 3, 32, 32)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[4])
    assert not torch.equal(first[4], first[5])
    processor = PROCESSORS["the shorter side, then a crop"]
    black, white = ((c - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std) for c in (0, 1))
    assert (first >= black[:, None, None] - 1e-5).all()
    assert (first <= white[:, None, None] + 1e-5).all()


def test_parts_are_cut_and_mirrored() -> None:
    """Left half black, right half white: parts differ in their share of white, and half of them are mirrored."""
    image = Image.fromarray(numpy.repeat(numpy.array([[0] * 32 + [255] * 32], numpy.uint8), 64, 0)).convert("RGB")
    random.seed(0)
    made = [numpy.asarray(augment(image, "standard", (16, 16), 2), float)[..., 0] for _ in range(400)]
    shares = [part.mean() / 255 for part in made]
    assert min(shares) == 0
    assert max(shares) == 1
    assert 0.45 < sum(shares) / 400 < 0.55
    mirrored = [part[0, 0] > part[0, -1] for part in made if part[0, 0] != part[0, -1]]
    assert 0.4 < sum(mirrored) / len(mirrored) < 0.6


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_operations_keep_size_and_mode(operation: Callable[..., Image.Image], strength: float) -> None:
    changed = operation(picture(), strength)
    assert changed.size == (50, 40)
    assert changed.mode == "RGB"


def test_only_images_can_be_augmented() -> None:
    document = {
        "name": "s", "model": "m", "dataset": {"source": "d"}, "space": {"epochs": 2}, "augmentation": "standard"
    }  # fmt: skip
    assert StudySpec.model_validate(document | {"task": "image-classification"}).augmentation == "standard"
    for changed, path in (
        ({"task": "text-classification"}, ("augmentation",)),
        ({"task": "image-classification", "augmentation": "heavy"}, ("augmentation",)),
        ({"task": "image-classification", "space": {"epochs": 2, "max_length": 5}}, ("space", "max_length")),
    ):
        with pytest.raises(ValidationError) as caught:
            StudySpec.model_validate(document | changed)
        assert [error["loc"] for error in caught.value.errors()] == [path]
