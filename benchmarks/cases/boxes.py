"""The case whose answers are boxes: bright rectangles on noise, by a small YOLOS with random weights."""

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
import transformers
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from transformers.image_transforms import center_to_corners_format

from cases.case import DATA, Case, Features, Official, Row, saved, with_head

SIDE = 96
"""Width and height of the images, in pixels."""
KINDS = ("red", "blue")
ANSWERS = 20
"""Answers that the model gives to an image."""


def yolos(folder: Path) -> Path:
    """Save a YOLOS of 4 blocks as wide as YOLOS-tiny, for patches of 8 by 8 pixels."""
    config = transformers.YolosConfig(
        hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768,
        image_size=[SIDE, SIDE], patch_size=8, num_detection_tokens=ANSWERS,
    )  # fmt: skip
    processor = transformers.YolosImageProcessor(size={"height": SIDE, "width": SIDE})
    return saved(folder, lambda: transformers.YolosForObjectDetection(config), processor)


def rectangles(rows: int) -> list[Row]:
    """Draw a large rectangle of one of two colours on noise, and return such images with the column `objects`.

    Boxes are large because a model with random weights first learns their mean, which then finds some of them.
    """
    folder = DATA / "rectangles"
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    for number in range(rows):
        draw = numpy.random.default_rng(number)
        pixels = draw.integers(0, 128, (SIDE, SIDE, 3), dtype=numpy.uint8)
        kind = number % 2
        width, height = draw.integers(SIDE // 2, SIDE, 2).tolist()
        x, y = int(draw.integers(0, SIDE - width + 1)), int(draw.integers(0, SIDE - height + 1))
        pixels[y : y + height, x : x + width, 2 * kind] = 255
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        found.append({"image": str(path), "objects": {"bbox": [[x, y, width, height]], "category": [KINDS[kind]]}})
    return found


def _features(processor: Any, rows: Sequence[Row], names: Sequence[str]) -> Features:
    """Return the images and their objects as the model's inputs; the example does so in every epoch anew."""
    made: Features = []
    for number, row in enumerate(rows):
        boxes = zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)
        annotations = [
            {"image_id": number, "category_id": names.index(name), "iscrowd": 0, "area": box[2] * box[3], "bbox": box}
            for box, name in boxes
        ]
        image = Image.open(row["image"]).convert("RGB")
        about = {"image_id": number, "annotations": annotations}
        inputs = processor(images=image, annotations=about, return_tensors="pt")
        made.append({"pixel_values": inputs["pixel_values"][0], "labels": inputs["labels"][0]})
    return made


def _collated(batch: Features) -> dict[str, Any]:
    return {"pixel_values": torch.stack([one["pixel_values"] for one in batch]), "labels": [o["labels"] for o in batch]}


def _records(image: int, labels: torch.Tensor, edges: torch.Tensor) -> list[dict[str, Any]]:
    """Return the boxes of an image as COCO has them; `edges` are left, upper, right and lower, in pixels."""
    corners, sides = edges[:, :2], edges[:, 2:] - edges[:, :2]
    boxes = torch.cat([corners, sides], 1).tolist()
    return [
        {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for label, box in zip(labels.tolist(), boxes, strict=True)
    ]


def _precision(processor: Any, classes: int, predicted: Any) -> float:
    """Return mean average precision of predictions, made boxes by the processor as the example does it.

    Args:
        processor: The model's image processor.
        classes: How many there are.
        predicted: For each batch logits and boxes, and for each batch the labels of its images.
    """
    objects: list[list[dict[str, Any]]] = []
    answers: list[list[dict[str, Any]]] = []
    for (logits, places), labels in zip(*predicted, strict=True):
        outputs = SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(places))
        sizes = torch.tensor([label["orig_size"].tolist() for label in labels])
        found = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
        for said, label, size in zip(found, labels, sizes, strict=True):
            edges = center_to_corners_format(torch.from_numpy(label["boxes"])) * size.flip(0).repeat(2)
            records = zip(_records(len(answers), said["labels"], said["boxes"]), said["scores"].tolist(), strict=True)
            objects.append(_records(len(objects), torch.from_numpy(label["class_labels"]), edges))
            answers.append([record | {"score": score} for record, score in records])
    return _counted(objects, answers, classes)


def _counted(objects: list[list[dict[str, Any]]], answers: list[list[dict[str, Any]]], classes: int) -> float:
    """Return what pycocotools says, which is what the example's metric (of torchmetrics) calls."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(len(objects))],
        "categories": [{"id": i} for i in range(classes)],
        "annotations": [record | {"id": number} for number, record in enumerate(chain(*objects), 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth.createIndex()
        counting = COCOeval(truth, truth.loadRes(list(chain(*answers))), "bbox")
        counting.evaluate()
        counting.accumulate()
        counting.summarize()
    return float(counting.stats[0])


def _detected(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_object_detection.py without augmentation; of a batch's outputs logits and boxes are kept."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    rows = training + validation
    names = sorted({name for row in rows for name in row["objects"]["category"]})
    made = _features(processor, rows, names)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    return Official(
        make=with_head("AutoModelForObjectDetection", folder, **labels, ignore_mismatched_sizes=True),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=_collated,
        score=partial(_precision, processor, len(names)),
        reduce=lambda outputs, labels: outputs[1:3],  # behind the parts of the loss
        joined=False,
    )


CASES = {
    "object-detection": Case(
        "object-detection", "map", rectangles, yolos, _detected, (),
        {"learning_rate": 1e-3, "batch_size": 8, "epochs": 3}, 64, 32, further={"box_format": "xywh"},
    ),
}  # fmt: skip
