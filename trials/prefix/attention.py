"""The attention function of a model with blocks without padding, or with a last block on one token.

It is registered with transformers under NAME. It calls transformers' own scaled-dot-product attention, with the tensors
that the block would give it without these shortcuts. `unpadding` and `first_token` install it in a model.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from luthier.trials.model.dropout import dropout
from luthier.trials.prefix.known_padding import SDPA, sdpa_mask

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

    def unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """Return (1, unpadded tokens, ...) of (batch, tokens, ...), or of (1, tokens, ...) that all examples share."""
        whole = padded.expand(self.batch, *padded.shape[1:])
        return whole.reshape(self.batch * self.tokens, *padded.shape[2:]).index_select(0, self.positions)[None]

    def pad(self, unpadded: torch.Tensor) -> torch.Tensor:
        """Return (batch, tokens, ...), with zeros as padding, of (1, unpadded tokens, ...)."""
        flat = unpadded.new_zeros(self.batch * self.tokens, *unpadded.shape[2:])
        return flat.index_copy(0, self.positions, unpadded[0]).view(self.batch, self.tokens, *unpadded.shape[2:])


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
    """Call transformers' function, except with dropout on the CPU: there torch has no fused kernel and draws slowly."""
    probability = float(options.get("dropout") or 0.0)
    plain = query.shape[1] == key.shape[1] and options.get("position_bias") is None
    causal = options.get("is_causal", getattr(module, "is_causal", True))
    has_simple_mask = (mask is not None and mask.dtype == torch.bool) or (mask is None and causal is False)
    if query.device.type != "cpu" or probability == 0 or not plain or not has_simple_mask:
        output: torch.Tensor
        output, _ = _sdpa_attention(module, query, key, value, mask, **options)
        return output
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = torch.matmul(query * scaling, key.transpose(-1, -2))  # (batch, heads, queries, keys)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = dropout(torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype), probability)
    return torch.matmul(weights, value).transpose(1, 2)


_sdpa_attention = AttentionInterface()[SDPA]  # type: ignore[no-untyped-call]
AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def uses_sdpa(model: PreTrainedModel) -> bool:
    """Return whether a model's attention is transformers' scaled-dot-product attention, or already NAME."""
    return getattr(model.config, "_attn_implementation", None) in (SDPA, NAME)
