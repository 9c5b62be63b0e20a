"""The entries of the tasks on images: a label, labels, a number, classes of pixels, or boxes.

`tasks.py` lists them.
"""

from luthier.studies.augmentations import MEASURED_IMAGES, MIXED_IMAGES
from luthier.studies.hyperparameters import Params
from luthier.studies.task import Metric, Role, Task
from luthier.studies.task_parts import (
    ACCURACY,
    CLASS_LOSS,
    GROUP,
    LABEL_SET_METRICS,
    MACRO_F1,
    NUMBER_METRICS,
    ONE_POOLING,
    ONLY_NUMBERS,
)

_BOXES = (
    "what is a box, and where it lies in an image, is worked out of its models' outputs by code that no ONNX file "
    "holds, and some of its models choose places by shapes that depend on the data"
)
_IMAGE = {"image": Role("image", "image"), "label": Role("label", "target"), **GROUP}
_BASELINE: Params = {"learning_rate": 2e-4, "batch_size": 32, "epochs": 5, "weight_decay": 0.01, "freeze_depth": 0}
_NO_LENGTH = {"max_length": "has no meaning for images: the model's own processor resizes them; leave it out"}

IMAGE_TASKS = (
    Task(
        name="image-classification",
        about="One label for an image.",
        auto=("AutoModelForImageClassification",),
        classes="row",
        augmentations=MIXED_IMAGES,
        columns=_IMAGE,
        metrics=(
            ACCURACY,
            Metric("top5_accuracy", True, "Fraction of examples whose label is among the five most likely."),
            MACRO_F1,
            CLASS_LOSS,
        ),
        baseline=_BASELINE,
        refuses=_NO_LENGTH | ONE_POOLING,
    ),
    Task(
        name="image-regression",
        about="A number for an image.",
        auto=("AutoModelForImageClassification",),
        columns=_IMAGE,
        metrics=NUMBER_METRICS,
        baseline=_BASELINE,
        augmentations=MEASURED_IMAGES,
        refuses=ONLY_NUMBERS | _NO_LENGTH | ONE_POOLING,
    ),
    Task(
        name="image-multilabel-classification",
        about="Any number of labels for an image.",
        auto=("AutoModelForImageClassification",),
        columns=_IMAGE,
        metrics=LABEL_SET_METRICS,
        baseline=_BASELINE,
        augmentations=MIXED_IMAGES,
        refuses=_NO_LENGTH | ONE_POOLING,
        label_sets=True,
    ),
    Task(
        name="image-segmentation",
        about="A class for each pixel of an image.",
        auto=("AutoModelForSemanticSegmentation",),
        columns={"image": Role("image", "image"), "mask": Role("mask", "target"), **GROUP},
        metrics=(
            Metric("mean_iou", True, "Mean over classes of their intersection over union, over all pixels."),
            Metric("pixel_accuracy", True, "Fraction of pixels whose class is right."),
            Metric("loss", False, "Mean cross-entropy of pixels, without label smoothing or class weights."),
        ),
        baseline={"learning_rate": 2e-4, "batch_size": 8, "epochs": 10, "weight_decay": 0.01, "freeze_depth": 0},
        refuses={
            **_NO_LENGTH,
            "pooling": "has no meaning for pixels: each has an answer of its own; leave it out",
        },
    ),
    Task(
        name="object-detection",
        about="A box and a class for each object of an image.",
        auto=("AutoModelForObjectDetection",),
        no_onnx=_BOXES,
        columns={"image": Role("image", "image"), "objects": Role("objects", "target"), **GROUP},
        metrics=(
            Metric(
                "map",
                True,
                "Mean average precision over classes and overlaps from 0.5 to 0.95, as COCO's script counts it.",
                needs="with objects",
            ),
            Metric("map_50", True, "Mean average precision at an overlap of 0.5.", needs="with objects"),
            Metric("map_75", True, "Mean average precision at an overlap of 0.75.", needs="with objects"),
            Metric("mar_100", True, "Mean recall over classes and overlaps, of 100 answers.", needs="with objects"),
            Metric("loss", False, "Mean over images of the model's own loss."),
        ),
        baseline={"learning_rate": 1e-4, "batch_size": 8, "epochs": 20, "weight_decay": 1e-4, "freeze_depth": 0},
        refuses={
            **_NO_LENGTH,
            "pooling": "has no meaning for boxes: each has an answer of its own; leave it out",
            "label_smoothing": "has no meaning for boxes: the model's own loss is used; leave it out",
            "class_weighting": "has no meaning for boxes: the model's own loss is used; leave it out",
        },
        augmentations=("standard",),
    ),
)
