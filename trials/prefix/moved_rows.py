"""Rows of a matrix that move to other places, forward and backward by the copying of whole rows alone.

`attention` pads with it. torch's own backward passes add rows up, one element at a time, as if places could repeat.
"""

from typing import Any

import torch


def gathered(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the rows at some places.

    Args:
        rows: (rows, size).
        places: (count,) of different places.
    """
    result: torch.Tensor = _Gathered.apply(rows, places)  # type: ignore[no-untyped-call]
    return result


def scattered(rows: torch.Tensor, places: torch.Tensor, count: int) -> torch.Tensor:
    """Return (count, size) with rows at some places, and zeros elsewhere.

    Args:
        rows: (rows, size).
        places: (rows,) of different places below `count`.
        count: Rows of the result.
    """
    result: torch.Tensor = _Scattered.apply(rows, places, count)  # type: ignore[no-untyped-call]
    return result


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(rows)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places,) = ctx.saved_tensors
        return _placed(gradient, places, ctx.count), None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, places: torch.Tensor, count: int) -> torch.Tensor:
        ctx.save_for_backward(places)
        return _placed(rows, places, count)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradient.index_select(0, places), None, None


def _placed(rows: torch.Tensor, places: torch.Tensor, count: int) -> torch.Tensor:
    """Return rows at their places, by a selection, which copies whole rows where `index_copy` goes by elements."""
    origins = torch.full((count,), len(rows), device=places.device)
    origins[places] = torch.arange(len(rows), device=places.device)
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).index_select(0, origins)
