"""The loss of classes: cross-entropy bit for bit, focal loss by its formula, and two classes that are mixed."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.trials.tasks.class_loss import ClassLoss
from luthier.trials.tasks.mixing import OTHER, SHARE

WEIGHTS = torch.tensor([0.5, 1.0, 3.0])


def _logits() -> torch.Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).mul_(3).requires_grad_()


LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 2])
MIXED = {"labels": LABELS, OTHER: LABELS.flip(0), SHARE: torch.linspace(0, 1, 7)}


def _loss(gamma: float, weights: torch.Tensor | None = WEIGHTS, smoothing: float = 0.1) -> ClassLoss:
    return ClassLoss(lambda outputs, targets: outputs["logits"], weights, smoothing, gamma)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_gamma_of_0_is_cross_entropy_bit_for_bit(weights: torch.Tensor | None, smoothing: float) -> None:
    logits = _logits()
    found = _loss(0.0, weights, smoothing).total({"logits": logits}, {"labels": LABELS})
    plain = functional.cross_entropy(logits, LABELS, weight=weights, label_smoothing=smoothing, reduction="sum")
    assert torch.equal(found, plain)
    close = _loss(1e-9, weights, smoothing).total({"logits": logits}, {"labels": LABELS})
    assert float(close.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)


def test_focal_loss_is_that_of_its_paper() -> None:
    logits = _logits()
    found = _loss(2.0, smoothing=0.0).total({"logits": logits}, {"labels": LABELS})
    p = logits.detach().double().softmax(1)[torch.arange(7), LABELS]  # equation 5, with alpha as the class's weight
    assert float(found.detach()) == pytest.approx(float((-WEIGHTS[LABELS] * (1 - p) ** 2 * p.log()).sum()), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 0.5, 2.0])
@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_are_finite_where_the_model_is_certain(gamma: float, mixed: bool) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0]] * 7, requires_grad=True)
    _loss(gamma).total({"logits": logits}, MIXED if mixed else {"labels": LABELS}).backward()
    assert torch.isfinite(logits.grad).all()


def test_gradients_are_those_of_finite_differences() -> None:
    def total(logits: torch.Tensor) -> torch.Tensor:
        return _loss(1.5).total({"logits": logits}, MIXED)

    logits = _logits().detach().requires_grad_()
    (found,) = torch.autograd.grad(total(logits), logits)
    for row, column in ((0, 0), (3, 2), (6, 1)):
        step = torch.zeros(7, 3)
        step[row, column] = 1e-2
        slope = float((total(logits + step) - total(logits - step)).detach()) / 2e-2
        assert float(found[row, column]) == pytest.approx(slope, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_two_classes_count_by_their_shares(gamma: float, weights: torch.Tensor | None) -> None:
    loss, outputs = _loss(gamma, weights), {"logits": _logits().detach()}
    for share, labels in ((1.0, LABELS), (0.0, MIXED[OTHER])):
        mixed = MIXED | {SHARE: torch.full((7,), share)}
        assert float(loss.total(outputs, mixed)) == pytest.approx(float(loss.total(outputs, {"labels": labels})))
        assert float(loss.weight(mixed)) == pytest.approx(float(loss.weight({"labels": labels})))
    parts = [
        ({name: v[part] for name, v in MIXED.items()}, outputs["logits"][part]) for part in (slice(3), slice(3, 7))
    ]
    assert float(loss.weight(MIXED)) == pytest.approx(sum(float(loss.weight(targets)) for targets, _ in parts))
    in_pieces = sum(float(loss.total({"logits": logits}, targets)) for targets, logits in parts)
    assert float(loss.total(outputs, MIXED)) == pytest.approx(in_pieces, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "name", "value", "is_refused"),
    [
        ("text-classification", "focal_gamma", 2, False),
        ("text-classification", "sampling", "balanced", False),
        ("token-classification", "focal_gamma", [0, 2], False),
        ("token-classification", "sampling", "balanced", True),
        ("image-classification", "focal_gamma", -1, True),
        ("audio-classification", "sampling", "random", True),
        ("image-multilabel-classification", "focal_gamma", 2, False),
        ("text-multilabel-classification", "sampling", "balanced", True),
        ("text-regression", "focal_gamma", 2, True),
    ],
)
def test_they_are_for_tasks_with_a_class_each(task: str, name: str, value: object, is_refused: bool) -> None:
    document = {"name": "s", "model": "m", "dataset": {"source": "d"}, "task": task, "space": {name: value}}
    if not is_refused:
        assert name in StudySpec.model_validate(document).space
        return
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(document)
    assert caught.value.errors()[0]["loc"] == ("space", name)


def test_tasks_without_classes_refuse_them() -> None:
    for task in TASKS.values():
        assert ("focal_gamma" in task.refuses) == (task.classes is None and not task.label_sets), task.name
        assert ("sampling" in task.refuses) == (task.classes != "row"), task.name
