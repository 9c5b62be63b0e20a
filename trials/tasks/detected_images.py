"""Images with their objects, encoded for a detector, and what the statistics of a split need beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.trials.data.box_targets import BoxRow
from luthier.trials.data.encoded import Encoded
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.detections import Criterion, criterion
from luthier.trials.tasks.encoded_images import EncodedImages, ExactImages

OBJECTS = "objects"
"""The name of the targets that are kept with the encoded inputs: each image's `BoxRow`."""


@dataclass(frozen=True, kw_only=True)
class Detected(Encoded):
    """What the statistics of a split need beside its objects.

    Attributes:
        post: The model's image processor, which makes answers of its outputs.
        losses: The model's own loss.
        names: Class id -> label, as the model has learned them.
        classes: The classes that are counted: up to the last one that the split holds.
        most: The answers that the model gives to an image; None: its configuration does not say.
    """

    post: Any
    losses: Criterion
    names: Sequence[str]
    classes: int
    most: int | None


@dataclass(frozen=True, kw_only=True)
class DetectedImages(Detected, EncodedImages):
    """Images of one size as bytes."""


@dataclass(frozen=True, kw_only=True)
class DetectedExactImages(Detected, ExactImages):
    """Images as their files have them."""


def with_post(encoded: Encoded, pretrained: Pretrained) -> dict[str, Any]:
    """Return the attributes of a split, and what its statistics need of a model."""
    config: Any = pretrained.model.config
    queries = getattr(config, "num_queries", None) or getattr(config, "num_detection_tokens", None)
    return vars(encoded) | {
        "post": pretrained.processor,
        "losses": criterion(pretrained.model),
        "names": [config.id2label[i] for i in range(config.num_labels)],
        "classes": 1 + max((b.label for row in objects_of(encoded, range(len(encoded))) for b in row.boxes), default=0),
        "most": queries,
    }


def objects_of(encoded: Encoded, rows: Sequence[int]) -> list[BoxRow]:
    """Return the objects of some images."""
    values: Any = encoded.targets[OBJECTS]
    return [values[i] for i in rows]


def labels_of(row: BoxRow) -> list[int]:
    """Return the class ids of the objects that are learned."""
    return [box.label for box in row.boxes if not box.crowd]


def places_of(row: BoxRow) -> list[tuple[float, float, float, float]]:
    """Return centres, widths and heights as shares of the image's sides, of the objects that are learned."""
    width, height = row.size
    return [
        ((b.x + b.width / 2) / width, (b.y + b.height / 2) / height, b.width / width, b.height / height)
        for b in row.boxes
        if not b.crowd
    ]
