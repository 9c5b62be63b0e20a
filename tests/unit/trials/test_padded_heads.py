"""Heads of attention that are padded into place at once: the same values and gradients as padding, then transposing."""

import torch

from luthier.trials.prefix.attention import PaddedLayout

LENGTHS, TOKENS, HEADS, SIZE = (3, 1, 4), 5, 2, 3


def layout() -> PaddedLayout:
    positions = torch.cat([torch.arange(length) + row * TOKENS for row, length in enumerate(LENGTHS)])
    return PaddedLayout(len(LENGTHS), TOKENS, positions)


def test_heads_are_padded_into_place_with_the_same_gradient() -> None:
    torch.manual_seed(0)
    values = torch.randn(1, sum(LENGTHS), HEADS, SIZE)
    one, other = values.clone().requires_grad_(), values.clone().requires_grad_()
    weights = torch.randn(len(LENGTHS), HEADS, TOKENS, SIZE)
    at_once = layout().pad_heads(one.transpose(1, 2))
    in_turn = layout().pad(other).transpose(1, 2)
    assert at_once.is_contiguous()
    assert torch.equal(at_once, in_turn)
    (at_once * weights).sum().backward()
    (in_turn * weights).sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    assert torch.equal(one.grad, other.grad)


def test_padding_is_taken_away_with_the_same_gradient() -> None:
    torch.manual_seed(0)
    values = torch.randn(len(LENGTHS), HEADS, TOKENS, SIZE)
    one, other = values.clone().requires_grad_(), values.clone().requires_grad_()
    weights = torch.randn(1, sum(LENGTHS), HEADS, SIZE)
    at_once = layout().unpad_heads(one)
    in_turn = layout().unpad(other.transpose(1, 2))
    assert torch.equal(at_once, in_turn)
    (at_once * weights).sum().backward()
    (in_turn * weights).sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    assert torch.equal(one.grad, other.grad)
