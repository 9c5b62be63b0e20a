"""Fields: the tensors that cross a cut, and the form in which their rows are stored, without padding.

The search for a cut chooses them, `rows` stores them. A field keeps its own token axis: an encoder's tokens and a
decoder's have different numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from luthier.trials.prefix.axes import BATCH, TOKENS, Inputs, PaddedAxis, axis_size
from luthier.trials.prefix.probe import FIRST, LAST, PER_TOKEN
from luthier.trials.prefix.shapes import Shape, UnknownShape
from luthier.trials.transfer import sent

WHOLE, SHARED = "whole", "shared"  # a field's kinds, beside those of `probe`; kinds are part of the cache's keys

ROUNDING = 1e-6  # relative difference of tensors that are the same

FRONT = (0, 1)  # the dimensions of stored tensors before those of a row: examples, tokens

Lengths = Mapping[str, Sequence[int]]  # axis -> length of each example on it, without padding


def corner(value: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Return the first places of a tensor on each of its dimensions: so many of them."""
    return value[tuple(slice(size) for size in sizes)]


class CannotKeep(Exception):
    """A tensor cannot be kept. The text is the reason, in words that follow "because "."""


@dataclass(frozen=True)
class Field:
    """A tensor that crosses the cut, and the form of its stored rows.

    Attributes:
        part: The name, in the model, of the part that returns the tensor.
        call: The number of the part's call in a forward, from 0.
        leaf: The tensor's index in the flattened structure that the part returns.
        kind: WHOLE: all of it, a row per example. PER_TOKEN: a row per token. FIRST, LAST: the row of the only token
            that the head uses, per example. SHARED: all examples have it in common (a bias for each distance between
            tokens), and a smaller batch the corner of it; it is kept once.
        shape: The tensor's shape.
        axis: The axis of its tokens; None: it has none, and is kept whole.
    """

    part: str
    call: int
    leaf: int
    kind: str
    shape: Shape
    axis: str | None = None

    @classmethod
    def of(cls, part: str, call: int, leaf: int, kind: str, shape: Shape | UnknownShape) -> "Field":
        """Return the field of a tensor.

        Args:
            part: The name of the part that returns it.
            call: The number of the part's call.
            leaf: Its index in what the part returns.
            kind: Which tokens are kept, if it has tokens.
            shape: Its shape.

        Raises:
            CannotKeep: Its rows do not belong to one example each, or their number cannot be foreseen.
        """
        if isinstance(shape, UnknownShape):
            raise CannotKeep("its size differs from batch to batch, and is that of no input")
        axes = [dim for dim in shape.dims if isinstance(dim, str)]
        if BATCH not in axes:
            if not shape.dtype.is_floating_point or any(isinstance(axis, PaddedAxis) for axis in axes):
                raise CannotKeep("it does not belong to one example each")
            return cls(part, call, leaf, SHARED, shape, axes[0] if axes else None)
        if axes.count(BATCH) > 1:
            raise CannotKeep("it mixes examples")
        axes.remove(BATCH)
        if len(axes) > 1:
            raise CannotKeep("it has a number for each pair of tokens")
        return cls(part, call, leaf, kind if axes else WHOLE, shape, axes[0] if axes else None)

    @property
    def moved(self) -> tuple[int, ...]:
        """The dimensions that become the first ones: that of the examples, and that of the tokens if there is one."""
        dims = self.shape.dims
        return (dims.index(BATCH), *([] if self.axis is None else [dims.index(self.axis)]))

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one stored row."""
        return tuple(d for d in self.shape.dims if not isinstance(d, str))

    def stored(self, lengths: Lengths) -> tuple[int, ...]:
        """Return the shape of all rows of a split: (rows, *row), or of the largest tensor that is SHARED."""
        if self.kind == SHARED:
            return tuple(max(lengths[dim]) if isinstance(dim, str) else dim for dim in self.shape.dims)
        per_token = self.kind == PER_TOKEN and self.axis is not None
        return (sum(lengths[str(self.axis)]) if per_token else len(lengths[TOKENS]), *self.row)

    def is_shared(self, values: Sequence[torch.Tensor]) -> bool:
        """Return whether of each two of these tensors, which batches of several sizes have, the corners are the same.

        A corner is as large as the smaller of the two on each of their axes.
        """
        for one, other in combinations(values, 2):
            common = [min(sizes) for sizes in zip(one.shape, other.shape, strict=True)]
            if not torch.allclose(corner(one, common), corner(other, common), rtol=ROUNDING, atol=0):
                return False
        return True

    @property
    def key(self) -> tuple[object, ...]:
        """Everything about the field that the content of its rows depends on."""
        return (self.part, self.call, self.leaf, self.kind, self.axis, self.shape.dims, str(self.shape.dtype))

    def to_rows(self, value: torch.Tensor, lengths: Lengths) -> torch.Tensor:
        """Return the rows to store, (rows, *row), of a batch's tensor.

        Args:
            value: The tensor, of the field's shape.
            lengths: The examples' lengths on each axis.
        """
        if self.kind == SHARED:
            return value
        value = value.movedim(self.moved, FRONT[: len(self.moved)])
        if self.axis is None:
            return value
        own = lengths[self.axis]
        if self.kind == FIRST:
            return value[:, 0]
        if self.kind == LAST:
            return value[torch.arange(len(own)), torch.tensor(own) - 1]
        return torch.cat([value[b, :length] for b, length in enumerate(own)])

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the rows of several batches as those of one."""
        if self.kind != SHARED:
            return torch.cat(list(parts))
        whole = parts[0].new_zeros([max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)])
        for part in parts:
            corner(whole, part.shape)[:] = part
        return whole

    def from_rows(self, rows: torch.Tensor, lengths: Lengths, inputs: Inputs) -> torch.Tensor:
        """Return the tensor that the model expects from the stored rows of a batch's examples.

        Args:
            rows: The rows, (rows, *row).
            lengths: The examples' lengths on each axis.
            inputs: The batch's inputs, which say how much is padded.
        """
        if self.kind == SHARED:
            return corner(rows, self.shape.of(inputs)).clone()
        return self._batch(rows, lengths, inputs).movedim(FRONT[: len(self.moved)], self.moved)

    def _batch(self, rows: torch.Tensor, lengths: Lengths, inputs: Inputs) -> torch.Tensor:
        """Return (examples, *row), or (examples, tokens, *row)."""
        if self.axis is None:
            return rows
        tokens = axis_size(self.axis, inputs)
        if self.kind in (FIRST, LAST):  # at every token, so that the head finds it at the one that it uses
            return rows[:, None].expand(-1, tokens, *rows.shape[1:])
        own = lengths[self.axis]
        padded = rows.new_zeros(len(own) * tokens, *rows.shape[1:])
        at = torch.cat([torch.arange(length) + row * tokens for row, length in enumerate(own)])
        return padded.index_copy_(0, sent(at, rows.device), rows).view(len(own), tokens, *rows.shape[1:])
