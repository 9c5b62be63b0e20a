"""Cases whose inputs are images: icons on photographs, by MobileNetV2 and by a small SegFormer."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from PIL import Image

from cases.case import (
    DATA,
    MODELS,
    Case,
    Features,
    Official,
    Row,
    accuracy,
    features,
    micro_f1,
    multi_hot,
    names_of,
    pearson,
    saved,
    standard,
    table,
    with_head,
)

PARAMS = {"learning_rate": 2e-3, "batch_size": 16, "epochs": 1}


def mobilenet(folder: Path) -> Path:
    """Return the folder of MobileNetV2."""
    return MODELS / "mobilenet_v2"


def segformer(folder: Path) -> Path:
    """Save a SegFormer of 4 stages with random weights, for images of 96 by 96 pixels."""
    config = transformers.SegformerConfig(
        num_encoder_blocks=4,
        depths=[1, 1, 1, 1],
        sr_ratios=[4, 2, 1, 1],
        hidden_sizes=[16, 32, 64, 96],
        patch_sizes=[7, 3, 3, 3],
        strides=[2, 2, 2, 2],
        num_attention_heads=[1, 2, 4, 4],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=64,
    )
    processor = transformers.SegformerImageProcessor(size={"height": 96, "width": 96})
    return saved(folder, lambda: transformers.SegformerModel(config), processor)


def icons(target: str, column: str, single: bool, rows: int) -> list[Row]:
    """Return images with the column `target`, read from `column`; `single`: only those with one kind of icon."""
    found = table("icons/train.csv", ("image", "mask", "kinds", "share"))
    chosen = [row for row in found if not single or (row["kinds"] and "|" not in row["kinds"])]
    folder = DATA / "icons"
    made = [{"image": str(folder / row["image"]), target: row[column]} for row in chosen[:rows]]
    return [row | {"mask": str(folder / row["mask"])} if target == "mask" else row for row in made]


def _pixels(folder: Path, rows: list[Row]) -> list[torch.Tensor]:
    """Return the images as the model's inputs; the examples do so in every epoch anew, which takes longer."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    images = (Image.open(row["image"]).convert("RGB") for row in rows)
    return [processor(images=image, return_tensors="pt")["pixel_values"][0] for image in images]


def _stacked(batch: Features) -> dict[str, torch.Tensor]:
    labels = [one["labels"] for one in batch]
    together = torch.stack(labels) if isinstance(labels[0], torch.Tensor) else torch.tensor(labels)
    return {"pixel_values": torch.stack([one["pixel_values"] for one in batch]), "labels": together}


def _classified(kind: str, folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_image_classification.py without augmentation, also for numbers and several labels."""
    rows = training + validation
    labels: list[Any]
    if kind == "number":
        numbers = [float(row["label"]) for row in rows]
        labels = standard(numbers[: len(training)], numbers)
        head: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
    elif kind == "labels":
        names = names_of(rows, "|")
        labels = multi_hot(rows, names)
        head = {"num_labels": len(names), "problem_type": "multi_label_classification"}
    else:
        names = names_of(rows)
        labels, head = [names.index(row["label"]) for row in rows], {"num_labels": len(names)}
    made = features({"pixel_values": _pixels(folder, rows)}, labels)
    return Official(
        make=with_head("AutoModelForImageClassification", folder, **head, ignore_mismatched_sizes=True),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=_stacked,
        score={"number": pearson, "labels": micro_f1, "label": accuracy}[kind],
    )


def _segmented(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_semantic_segmentation.py: logits are resized to the masks, and the most likely class is kept."""
    rows = training + validation
    masks = [torch.from_numpy(numpy.array(Image.open(row["mask"]))).long() for row in rows]
    names = sorted({int(i) for mask in masks for i in mask.unique()} - {255})
    made = features({"pixel_values": _pixels(folder, rows)}, masks)

    def reduce(logits: Any, labels: torch.Tensor) -> torch.Tensor:
        resized = torch.nn.functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
        return resized.argmax(1)

    def score(predicted: Any) -> float:
        said, true = predicted[0][predicted[1] != 255], predicted[1][predicted[1] != 255]
        shares = [((said == i) & (true == i)).sum() / max(1, ((said == i) | (true == i)).sum()) for i in names]
        return float(numpy.mean(shares))

    return Official(
        make=with_head("AutoModelForSemanticSegmentation", folder, num_labels=len(names)),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=_stacked,
        score=score,
        reduce=reduce,
    )


CASES = {
    "image-classification": Case(
        "image-classification", "accuracy", partial(icons, "label", "kinds", True), mobilenet,
        partial(_classified, "label"), ("mobilenet_v2", "icons"), PARAMS, 32, 24,
    ),
    "image-regression": Case(
        "image-regression", "pearson", partial(icons, "label", "share", False), mobilenet,
        partial(_classified, "number"), ("mobilenet_v2", "icons"), PARAMS, 32, 24,
    ),
    "image-multilabel": Case(
        "image-multilabel-classification", "micro_f1", partial(icons, "label", "kinds", False), mobilenet,
        partial(_classified, "labels"), ("mobilenet_v2", "icons"), PARAMS, 32, 24, further={"label_separator": "|"},
    ),
    "image-segmentation": Case(
        "image-segmentation", "mean_iou", partial(icons, "mask", "mask", False), segformer, _segmented, ("icons",),
        {"learning_rate": 3e-3, "batch_size": 8, "epochs": 1}, 64, 32,
    ),
}  # fmt: skip
