"""Copies of weights in bfloat16: every gradient and every step is the one that autocast's own casts give."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from luthier.trials.training.weight_copies import WeightCopies, same_with_copies

INPUTS = {
    "input_ids": torch.tensor([[2, 5, 7, 3], [2, 9, 3, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}
TARGETS = torch.tensor([0, 1])


def tiny() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def steps() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The weights after four steps of two pieces each, without and with copies."""
    after = []
    for with_copies in (False, True):
        model = tiny()
        copies = WeightCopies(model) if with_copies else None
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
        for _ in range(4):
            optimizer.zero_grad()
            for row in range(2):
                with copies.active() if copies is not None else nullcontext():
                    with torch.autocast("cpu", torch.bfloat16):
                        logits = model(**{name: values[row : row + 1] for name, values in INPUTS.items()}).logits
                    nn.functional.cross_entropy(logits.float(), TARGETS[row : row + 1]).backward()
                if copies is not None:
                    copies.take_gradients()
            if copies is not None:
                copies.expect_step()
            optimizer.step()
        after.append([parameter.detach() for parameter in model.parameters()])
    return after[0], after[1]


def test_steps_are_the_same_to_the_last_bit(steps: tuple[list[torch.Tensor], list[torch.Tensor]]) -> None:
    cast, copied = steps
    start = [parameter.detach() for parameter in tiny().parameters()]
    assert all(torch.equal(one, other) for one, other in zip(cast, copied, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(cast, start, strict=True))


def test_layers_multiply_by_copies_and_everybody_else_sees_float32() -> None:
    model = tiny()
    layer = model.bert.encoder.layer[0].output.dense
    own, norm = layer.weight, model.bert.embeddings.LayerNorm.weight
    copies = WeightCopies(model)
    with pytest.raises(RuntimeError, match="in the middle"), copies.active():
        assert layer.weight.dtype == torch.bfloat16
        assert model.bert.embeddings.LayerNorm.weight is norm
        raise RuntimeError("in the middle")
    assert layer.weight is own


def test_frozen_weights_have_copies_only_where_they_are_used() -> None:
    model = tiny()
    layer = model.bert.encoder.layer[0].output.dense
    layer.requires_grad_(False)
    copies = WeightCopies(model)
    copies.has_frozen = False
    with copies.active():
        assert layer.weight.dtype == torch.float32
    copies.has_frozen = True
    with copies.active():
        assert layer.weight.dtype == torch.bfloat16
        assert not layer.weight.requires_grad


def test_a_weight_that_is_a_table_too_has_no_copy() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head, self.inner = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False), nn.Linear(4, 4)
            self.head.weight = self.table.weight

    model = Tied()
    with WeightCopies(model).active():
        assert model.head.weight is model.table.weight
        assert model.inner.weight.dtype == torch.bfloat16


def test_a_change_in_place_is_in_the_copy_at_once() -> None:
    layer = nn.Sequential(nn.Linear(3, 2))
    copies = WeightCopies(layer)
    with copies.active():
        before = layer[0].weight.clone()
    with torch.no_grad():
        layer[0].weight.add_(1.0)
    own = layer[0].weight
    with copies.active():
        assert torch.equal(layer[0].weight, own.bfloat16())
        assert not torch.equal(layer[0].weight, before)


def test_a_model_whose_answers_would_be_others_gets_no_copies() -> None:
    class Sum(nn.Module):
        """Its code uses a weight where autocast does not cast it."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).float() * self.layer.weight.sum()

    model, x = Sum(), torch.ones(1, 64)

    def forward() -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return {"logits": model(x)}

    assert not same_with_copies(model, forward)
    plain = nn.Sequential(nn.Linear(64, 64))

    def other() -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return {"logits": plain(x)}

    assert same_with_copies(plain, other)
