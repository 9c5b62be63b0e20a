"""The attention function of a model with blocks without padding, or with a last block on one token.

It is registered with transformers under NAME. It calls transformers' own scaled-dot-product attention, with the tensors
that the block would give it without these shortcuts. `unpadding` and `first_token` install it in a model.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from luthier.trials.model.dropout import dropout
from luthier.trials.prefix.known_padding import SDPA, sdpa_mask
from luthier.trials.prefix.moved_rows import gathered, scattered

NAME = "sdpa_short"


@dataclass(frozen=True)
class PaddedLayout:
    """The places of the tokens of an unpadded batch in the padded one.

    Attributes:
        batch: Examples.
        tokens: Tokens that the batch is padded to.
        positions: Of each token in the flattened (batch * tokens,); (unpadded tokens,).
    """

    batch: int
    tokens: int
    positions: torch.Tensor
    _by_heads: dict[int, torch.Tensor] = field(default_factory=dict)

    def unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """Return (1, unpadded tokens, ...) of (batch, tokens, ...), or of (1, tokens, ...) that all examples share."""
        whole = padded.expand(self.batch, *padded.shape[1:])
        return whole.reshape(self.batch * self.tokens, *padded.shape[2:]).index_select(0, self.positions)[None]

    def pad(self, unpadded: torch.Tensor) -> torch.Tensor:
        """Return (batch, tokens, ...), with zeros as padding, of (1, unpadded tokens, ...)."""
        flat = unpadded.new_zeros(self.batch * self.tokens, *unpadded.shape[2:])
        return flat.index_copy_(0, self.positions, unpadded[0]).view(self.batch, self.tokens, *unpadded.shape[2:])

    def pad_heads(self, unpadded: torch.Tensor) -> torch.Tensor:
        """Return (batch, heads, tokens, size), in this order in memory too, of (1, heads, unpadded tokens, size)."""
        heads, size = unpadded.shape[1], unpadded.shape[3]
        rows = unpadded[0].transpose(0, 1).reshape(-1, size)
        padded = scattered(rows, self._places(heads), self.batch * heads * self.tokens)
        return padded.view(self.batch, heads, self.tokens, size)

    def unpad_heads(self, padded: torch.Tensor) -> torch.Tensor:
        """Return (1, unpadded tokens, heads, size) of (batch, heads, tokens, size)."""
        heads, size = padded.shape[1], padded.shape[3]
        return gathered(padded.reshape(-1, size), self._places(heads)).view(1, -1, heads, size)

    def _places(self, heads: int) -> torch.Tensor:
        """Return the places of each token's heads in the flattened (batch * heads * tokens,)."""
        if heads not in self._by_heads:
            row, token = self.positions // self.tokens, self.positions % self.tokens
            head = torch.arange(heads, device=row.device)
            self._by_heads[heads] = ((row[:, None] * heads + head) * self.tokens + token[:, None]).flatten()
        return self._by_heads[heads]


current_layout: ContextVar[PaddedLayout | None] = ContextVar("current_layout", default=None)
"""The layout of the block that is being computed; None where its tokens are padded.

A block's code calls `attention` with the arguments of its own choice, so the layout cannot be one of them. Hooks of
`unpadding` set it before each block and reset it after; a variable of the context, so that threads do not share it.
"""


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute scaled-dot-product attention; the signature is that of transformers' attention functions.

    Args:
        module: The attention module that calls.
        query: (batch, heads, queries, head size).
        key: (batch, heads, tokens, head size); for one query also (batch, tokens * heads, 1, head size), the form that
            a block's code gives it when the block's input has one token.
        value: As `key`.
        mask: (batch, heads or 1, queries, tokens), or None.
        options: As transformers' own function takes them.

    Returns:
        The output, (batch, queries, heads, head size), and None in place of the weights. Without padding all tokens
        are in one row: batch is 1, and queries and tokens are those of the whole batch.
    """
    layout = current_layout.get()
    by_hand = _draws(module, query, key, mask, options)
    if layout is not None and by_hand:
        query, key, value = (layout.pad_heads(t) for t in (query, key, value))
        return layout.unpad_heads(_attend_with_dropout(query, key, value, mask, options)), None
    if layout is not None:
        query, key, value = (layout.pad(t.transpose(1, 2)).transpose(1, 2) for t in (query, key, value))
        return layout.unpad(_attend(module, query, key, value, mask, options)), None
    batch, heads, queries, size = query.shape
    if queries == 1 and key.shape[2] == 1 and key.shape[1] > heads:
        key, value = (t.reshape(batch, -1, heads, size).transpose(1, 2) for t in (key, value))
    return _attend(module, query, key, value, mask, options), None


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    options: dict[str, Any],
) -> torch.Tensor:
    """Call transformers' function, except where `_draws` says otherwise."""
    if _draws(module, query, key, mask, options):
        return _attend_with_dropout(query, key, value, mask, options).transpose(1, 2)
    output: torch.Tensor
    output, _ = _sdpa_attention(module, query, key, value, mask, **options)
    return output


def _draws(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, options: dict[str, Any]
) -> bool:
    """Return whether there is dropout on the CPU: there torch has no fused kernel and draws slowly."""
    if query.device.type != "cpu" or not options.get("dropout"):
        return False
    plain = query.shape[1] == key.shape[1] and options.get("position_bias") is None
    causal = options.get("is_causal", getattr(module, "is_causal", True))
    return plain and ((mask is not None and mask.dtype == torch.bool) or (mask is None and causal is False))


def _attend_with_dropout(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, options: dict[str, Any]
) -> torch.Tensor:
    """Return the output of attention with dropout, (batch, heads, queries, head size)."""
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    # contiguous: a product with a transposed view may round in another way
    scores = torch.matmul(query * scaling, key.transpose(-1, -2).contiguous())  # (batch, heads, queries, keys)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(dropout(weights, float(options["dropout"])), value)


_sdpa_attention = AttentionInterface()[SDPA]  # type: ignore[no-untyped-call]
AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def uses_sdpa(model: PreTrainedModel) -> bool:
    """Return whether a model's attention is transformers' scaled-dot-product attention, or already NAME."""
    return getattr(model.config, "_attn_implementation", None) in (SDPA, NAME)
