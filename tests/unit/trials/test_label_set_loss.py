"""The loss of label sets: binary cross-entropy bit for bit, focal loss by its formula, and two rows that are mixed."""

import pytest
import torch
from torch.nn import functional

from luthier.trials.tasks.label_set_loss import LABELS, LabelSetLoss, indicators
from luthier.trials.tasks.mixing import OTHER, SHARE

IDS = torch.tensor([[0, 2], [1, -1], [-1, -1], [2, 1]])
WANTED = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1]])
WEIGHTS = torch.tensor([0.5, 1.0, 3.0])
LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) * 3


def _loss(gamma: float = 0.0, weights: torch.Tensor | None = WEIGHTS, smoothing: float = 0.1) -> LabelSetLoss:
    return LabelSetLoss(3, weights, smoothing, gamma)


def test_a_gamma_of_0_is_binary_cross_entropy_bit_for_bit() -> None:
    assert torch.equal(indicators(IDS, 3), WANTED.bool())
    found = _loss().total({"logits": LOGITS}, {LABELS: IDS})
    wanted = WANTED * 0.9 + 0.05
    plain = functional.binary_cross_entropy_with_logits(LOGITS, wanted, pos_weight=WEIGHTS, reduction="sum")
    assert torch.equal(found, plain)
    assert float(_loss(1e-9).total({"logits": LOGITS}, {LABELS: IDS})) == pytest.approx(float(plain), rel=1e-5)


def test_focal_loss_is_that_of_its_paper() -> None:
    found = _loss(2.0, None, 0.0).total({"logits": LOGITS}, {LABELS: IDS})
    # As torchvision.ops.sigmoid_focal_loss(LOGITS, WANTED, alpha=-1, gamma=2, reduction="sum") computes it.
    p = LOGITS.double().sigmoid()
    p_t = p * WANTED + (1 - p) * (1 - WANTED)
    assert float(found) == pytest.approx(float((-((1 - p_t) ** 2) * p_t.log()).sum()), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_gradients_are_finite_where_the_model_is_certain(gamma: float) -> None:
    logits = torch.tensor([[300.0, -300.0, 0.0]] * 4, requires_grad=True)
    _loss(gamma).total({"logits": logits}, {LABELS: IDS}).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_mixture_is_the_mean_of_its_rows_losses(gamma: float, smoothing: float) -> None:
    loss, shares, other = _loss(gamma, smoothing=smoothing), torch.tensor([0.0, 0.3, 0.5, 1.0]), IDS.flip(0)
    mixed = {LABELS: IDS, OTHER: other, SHARE: shares}
    expected = 0.0
    for i, share in enumerate(shares.tolist()):
        row = {"logits": LOGITS[i : i + 1]}
        own, others = (float(loss.total(row, {LABELS: ids[i : i + 1]})) for ids in (IDS, other))
        expected += share * own + (1 - share) * others
    assert float(loss.total({"logits": LOGITS}, mixed)) == pytest.approx(expected, rel=1e-5)
    assert loss.weight(mixed) == 12
