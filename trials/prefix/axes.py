"""Axes: the dimensions of tensors that differ from batch to batch, and their sizes.

The names of axes are strings, which say where a tensor's lengths are to be found. Nothing here holds a tensor.
"""

from collections.abc import Callable, Mapping, Sequence
from math import gcd

import torch

Inputs = Mapping[str, torch.Tensor]  # a batch of the model's inputs
ArgumentShapes = Mapping[int, tuple[int, ...]]  # of a call's tensors, by their index in the flattened arguments

BATCH, TOKENS = "batch", "tokens"
"""Axes: dimensions that differ from batch to batch. TOKENS is the first input's; another one has its input's name."""


class InnerAxis(str):
    """The name of an axis that a model makes of the first input's: the frames of a sound.

    Attributes:
        size: The function from a length of the first input to that of this axis.
    """

    size: Callable[[int], int]

    @classmethod
    def of(cls, name: str, size: Callable[[int], int]) -> "InnerAxis":
        """Return the axis of a name."""
        axis = cls(name)
        axis.size = size
        return axis


class PaddedAxis(str):
    """The name of an axis that a model's own code pads further, to a multiple of its window, before it calls a part.

    Attributes:
        axis: The axis, whose name this has.
        place: The argument of the part that shows the size in each batch: index of the leaf, dimension.
    """

    axis: str
    place: tuple[int, int]

    @classmethod
    def of(cls, axis: str, place: tuple[int, int]) -> "PaddedAxis":
        """Return the padded form of an axis."""
        padded = cls(axis)
        padded.axis, padded.place = axis, place
        return padded


def axis_size(axis: str, inputs: Inputs) -> int:
    """Return the size of an axis in a batch: its examples, or the length that an input is padded to."""
    if isinstance(axis, PaddedAxis):
        return axis_size(axis.axis, inputs)
    if isinstance(axis, InnerAxis):
        return axis.size(axis_size(TOKENS, inputs))
    values = next(iter(inputs.values())) if axis in (BATCH, TOKENS) else inputs[axis]
    if axis == BATCH:
        return values.shape[0]
    return values.shape[1] if values.ndim > 1 else 1


def padded_axis(
    sizes: Sequence[int], inputs: Sequence[Inputs], axes: Sequence[str], arguments: Sequence[ArgumentShapes]
) -> PaddedAxis | None:
    """Return the axis that has been padded to these sizes, multiples of a window, where an argument has them too."""
    window = gcd(*sizes)  # or a divisor of it
    more = {axis: [size - axis_size(axis, i) for i, size in zip(inputs, sizes, strict=True)] for axis in axes}
    axis = next((axis for axis, added in more.items() if all(0 <= number < window for number in added)), None)
    if axis is None or not arguments:
        return None
    for leaf, first in arguments[0].items():
        shapes = [others.get(leaf, ()) for others in arguments]
        for dim in range(len(first)):
            if [shape[dim : dim + 1] for shape in shapes] == [(size,) for size in sizes]:
                return PaddedAxis.of(axis, (leaf, dim))
    return None
