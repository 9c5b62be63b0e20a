"""Dropout on the CPU keeps the right share, keeps the mean, and repeats itself."""

import pytest
import torch
from torch import nn

from luthier.trials.model import dropout
from luthier.trials.training.seeding import seed_everything


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.999])
def test_the_share_and_the_mean_are_right(probability: float) -> None:
    dropout.seed(1)
    values = dropout.dropout(torch.ones(1001, 1003), probability)
    spread = (probability * (1 - probability) / values.numel()) ** 0.5
    assert float((values == 0).float().mean()) == pytest.approx(probability, abs=5 * spread + 1 / 65536)
    assert float(values.max()) == pytest.approx(1 / (1 - probability), rel=0.02)
    assert float(values.mean()) == pytest.approx(1, abs=0.05)


def test_layers_draw_in_training_only_and_a_seed_repeats_it() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    dropout.enable_shortcuts(model)
    inputs, found = torch.randn(32, 8), []
    for value in (3, 3, 4):
        seed_everything(value)
        found.append(model.train()(inputs))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(model.eval()(inputs), model[0](inputs))
    found[0].sum().backward()
    gradient = model[0].bias.grad
    assert gradient is not None
    assert torch.allclose(gradient, (found[0] != 0).sum(0) * 2.0)
