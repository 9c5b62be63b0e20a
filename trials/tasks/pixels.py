"""Pixels with a class each: loss, answers as counts of pixels, and the metrics that are made of these.

Mean IoU is what `evaluate` and the official scripts of Cityscapes and ADE20K compute: intersections and unions are
summed over all images, and a class that neither masks nor predictions hold is left out.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional

from luthier.studies.wire import Metrics
from luthier.trials.data.masks import IGNORED
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.scoring import Batch, Reference, Tensors
from luthier.trials.transfer import sent

CONFUSION, LABELLED, NLL, PROBABILITIES = "confusion", "labelled", "nll", "probabilities"
"""Names of answers: an image's pixels by true id and predicted class, (images, 256, classes); its pixels by true id,
(images, 256); the sum of its pixels' losses, (images,); the classes' mean probabilities, (images, classes)."""
RIGHT, PREDICTED = "right", "predicted"
"""Names of statistics, (images, classes) each, beside `LABELLED` and `NLL`: pixels whose class is right, and pixels for
which a class is predicted. Pixels that do not count are in none."""


class PixelEntropy(Loss):
    """The cross-entropy of the pixels that count, at the size of the masks, as the models' own losses compute it.

    Args:
        weights: (classes,) loss weight of each class, on the model's device; None: all alike.
        smoothing: Share of the target probability that is spread over all classes (label smoothing).
    """

    def __init__(self, weights: torch.Tensor | None, smoothing: float) -> None:
        self._weights = weights
        self._smoothing = smoothing

    def weight(self, targets: Tensors) -> float | torch.Tensor:
        """Return the sum of the counted pixels' weights; 1 where none counts, as after an unlucky cut."""
        masks = targets["masks"]
        if self._weights is None:
            return max(1, int((masks != IGNORED).sum()))
        counts = torch.bincount(masks.flatten(), minlength=IGNORED + 1)[: len(self._weights)]
        return (self._weights * sent(counts, self._weights.device)).sum().clamp(min=torch.finfo(torch.float32).tiny)

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the weighted sum of the pixels' losses, ()."""
        masks = targets["masks"].to(outputs["logits"].device, non_blocking=True).long()
        logits = resized(outputs["logits"], masks.shape[1:])
        return functional.cross_entropy(
            logits,
            masks,
            weight=self._weights,
            ignore_index=IGNORED,
            label_smoothing=self._smoothing,
            reduction="sum",
        )


def resized(logits: torch.Tensor, size: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Return logits (rows, classes, height, width) in another size, float32, as transformers resizes them."""
    return functional.interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=False)


def reduced(logits: torch.Tensor, masks: torch.Tensor, sizes: torch.Tensor) -> Batch:
    """Return the answers of a batch, image by image, so that one image's logits at a mask's size are in memory.

    Args:
        logits: (images, classes, height, width), on the model's device.
        masks: (images, height, width) ids, filled up at the right and below, on the CPU.
        sizes: (images, 2) height and width of each mask, on the CPU.
    """
    found = [_image(logits[i : i + 1], masks[i, :h, :w]) for i, (h, w) in enumerate(sizes.tolist())]
    return {name: torch.stack([image[name] for image in found]) for name in found[0]}


def _image(logits: torch.Tensor, mask: torch.Tensor) -> Batch:
    """Return the answers to one image: its logits are (1, classes, height, width)."""
    logs = resized(logits, mask.shape)[0].log_softmax(0).flatten(1)  # (classes, pixels)
    classes = len(logs)
    true = mask.to(logs.device, non_blocking=True).flatten().long()
    places = true * classes + logs.argmax(0)
    counts = torch.zeros((IGNORED + 1) * classes, dtype=torch.int32, device=logs.device)
    confusion = counts.scatter_add_(0, places, torch.ones_like(places, dtype=torch.int32)).view(-1, classes)
    own = logs.gather(0, true.clamp(max=classes - 1)[None])[0]
    known = torch.where(true < classes, -own, torch.inf)  # the model lacks the class
    losses = torch.where(true == IGNORED, 0, known)
    return {
        CONFUSION: confusion,
        LABELLED: confusion.sum(1, dtype=torch.int32),
        NLL: losses.sum(dtype=torch.double),
        PROBABILITIES: logs.exp().mean(1, dtype=torch.double),
    }


def pixel_statistics(answers: Tensors) -> Batch:
    """Return the statistics of some images: `RIGHT`, `PREDICTED`, `LABELLED` by class, and `NLL`."""
    classes = answers[CONFUSION].shape[2]
    confusion = answers[CONFUSION][:, :classes].long()
    return {
        RIGHT: confusion.diagonal(dim1=1, dim2=2).contiguous(),
        PREDICTED: confusion.sum(1),
        LABELLED: answers[LABELLED][:, :classes].long(),
        NLL: answers[NLL].double(),
    }


def pixel_scores(units: Mapping[str, torch.Tensor]) -> Metrics:
    """Compute mean IoU, pixel accuracy and loss from images' statistics; None where no pixel counts."""
    right, predicted, labelled = (units[name].sum(0).double() for name in (RIGHT, PREDICTED, LABELLED))
    union = labelled + predicted - right
    held, pixels = union > 0, float(labelled.sum())
    if not pixels:
        return {"mean_iou": None, "pixel_accuracy": None, "loss": None}
    loss = float(units[NLL].sum()) / pixels
    return {
        "mean_iou": float((right[held] / union[held]).mean()),
        "pixel_accuracy": float(right.sum()) / pixels,
        "loss": loss if torch.isfinite(torch.tensor(loss)) else None,
    }


def reference_pixels(reference: Reference, logs: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Return answers without a model.

    Args:
        reference: Every pixel gets the most frequent class, its own, or the one after its own.
        logs: (classes,) log frequencies of the classes.
        masks: (images, height, width) ids.
    """
    classes = len(logs)
    labelled = torch.stack([torch.bincount(mask.flatten(), minlength=IGNORED + 1) for mask in masks])
    confusion = torch.zeros((len(masks), IGNORED + 1, classes), dtype=torch.long)
    ids = torch.arange(classes)
    if reference is Reference.CONSTANT:
        confusion[:, :, logs.argmax()] = labelled
        nll = -(labelled[:, :classes] * logs).sum(1)
    else:
        confusion[:, ids, ids if reference is Reference.RIGHT else (ids + 1) % classes] = labelled[:, :classes]
        nll = labelled[:, :classes].sum(1).double() * (reference is Reference.WRONG)
    shares = confusion.sum(1).double() / confusion.sum((1, 2))[:, None].clamp(min=1)
    return {CONFUSION: confusion, LABELLED: labelled, NLL: nll.double(), PROBABILITIES: shares}
