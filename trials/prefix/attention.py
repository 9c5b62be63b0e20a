"""The attention function that a model gets while its blocks are packed or its last one is narrowed.

It is transformers' own scaled-dot-product attention on what its caller would have had without either.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from luthier.trials.model.dropout import dropout

NAME = "sdpa_short"


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a padded batch lie in a packed one."""

    batch: int
    tokens: int  # of the longest example
    places: torch.Tensor  # (packed tokens,) in the flattened (batch * tokens,)

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """(1, packed tokens, ...) of (batch, tokens, ...), or of (1, tokens, ...), the same for each example."""
        whole = padded.expand(self.batch, *padded.shape[1:])
        return whole.reshape(self.batch * self.tokens, *padded.shape[2:]).index_select(0, self.places)[None]

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, ...), zeros where there is padding, of (1, packed tokens, ...)."""
        flat = packed.new_zeros(self.batch * self.tokens, *packed.shape[2:])
        return flat.index_copy(0, self.places, packed[0]).view(self.batch, self.tokens, *packed.shape[2:])


class _Current:
    layout: Layout | None = None  # of the block that is being computed


current = _Current()


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """(batch, queries, heads, head size) from query, key and value of (batch, heads, tokens, head size).

    For one query token, keys may come as (batch, tokens * heads, 1, head size).
    """
    layout = current.layout
    if layout is not None:
        query, key, value = (layout.unpack(t.transpose(1, 2)).transpose(1, 2) for t in (query, key, value))
        return layout.pack(_attend(module, query, key, value, mask, options)), None
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
    """transformers' own; but on the CPU torch has no fused kernel with dropout, and draws slowly."""
    dropped = float(options.get("dropout") or 0.0)
    plain = query.shape[1] == key.shape[1] and options.get("position_bias") is None
    causal = options.get("is_causal", getattr(module, "is_causal", True))
    known = (mask is not None and mask.dtype == torch.bool) or (mask is None and causal is False)
    if query.device.type != "cpu" or dropped == 0 or not plain or not known:
        found, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        return found
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = torch.matmul(query * scaling, key.transpose(-1, -2))  # (batch, heads, queries, keys)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = dropout(torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype), dropped)
    return torch.matmul(weights, value).transpose(1, 2)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
