"""Whether a batch has padding, told to transformers' masks, which would otherwise read it from the device.

transformers leaves a mask out where no token is padding, and looks at the mask to know: on a GPU each forward then
waits for all work before it. `told` keeps what the CPU knows of a mask before that is sent, and within `known` masks go
by it; they are the same as without. The forward pass calls both.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionMaskInterface

MASK = "attention_mask"
SDPA = "sdpa"  # transformers' name for scaled-dot-product attention

_padded = WeakTensorKeyDictionary()  # a mask -> whether it says that there is padding
_current: ContextVar[tuple[torch.Size, bool] | None] = ContextVar("padding", default=None)


def told(sent: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> None:
    """Keep whether a batch has padding.

    Args:
        sent: Inputs on the device.
        inputs: The same on the CPU.
    """
    mask = inputs.get(MASK)
    if mask is not None and mask.ndim == 2:
        _padded[sent[MASK]] = not mask.numpy().all()


@contextmanager
def known(inputs: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Within this context masks of a batch's shape go by what is known of its padding; where nothing is, it is read."""
    mask = inputs.get(MASK)
    if mask is None or mask.ndim != 2:
        yield
        return
    if mask not in _padded:
        _padded[mask] = not bool(mask.all())
    token = _current.set((mask.shape, _padded[mask]))
    try:
        yield
    finally:
        _current.reset(token)


def sdpa_mask(*args: Any, attention_mask: torch.Tensor | None = None, **options: Any) -> torch.Tensor | None:
    """Return transformers' mask, by what is known of the padding where the mask is of the batch's shape."""
    current = _current.get()
    if current is not None and attention_mask is not None and attention_mask.shape == current[0]:
        if current[1]:
            options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        else:
            attention_mask = None
    mask: torch.Tensor | None = _sdpa_mask(*args, attention_mask=attention_mask, **options)
    return mask


_sdpa_mask = AttentionMaskInterface()[SDPA]  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(SDPA, sdpa_mask)
