"""Structures of tensors, recorded as shapes and built again for batches of other sizes.

A cut uses them to stub frozen modules. The values of tensors are not recorded.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from luthier.trials.prefix.axes import BATCH, TOKENS, ArgumentShapes, Inputs, PaddedAxis, axis_size, padded_axis


class StructureMismatch(Exception):
    """A module returned structures of different forms for several batches."""


@dataclass(frozen=True)
class Shape:
    """A tensor's shape and type.

    Attributes:
        dims: Each dimension's size, or the axis of the inputs that it has the size of.
        dtype: The tensor's type.
    """

    dims: tuple[int | str, ...]
    dtype: torch.dtype

    @classmethod
    def infer(
        cls,
        tensors: Sequence[torch.Tensor],
        inputs: Sequence[Inputs],
        axes: Sequence[str] = (TOKENS,),
        arguments: Sequence[ArgumentShapes] = (),
    ) -> "Shape | None":
        """Infer a shape from one tensor per batch, over batches of different sizes.

        Args:
            tensors: The results of one module, a tensor per batch.
            inputs: The model's inputs of the same batches.
            axes: The axes of the inputs beside BATCH.
            arguments: The shapes of the module's arguments, by their index, for each batch.

        Returns:
            The shape, or None if a dimension differs, and has neither the size of an axis nor, as an axis that the
            model pads further, that of an argument.
        """
        if len({t.ndim for t in tensors}) != 1:
            return None
        dims: list[int | str] = []
        for sizes in zip(*(t.shape for t in tensors), strict=True):
            fitting = (axis for axis in (BATCH, *axes) if sizes == tuple(axis_size(axis, i) for i in inputs))
            dim: int | str | None = sizes[0]
            if len(set(sizes)) > 1:
                dim = next(fitting, None) or padded_axis(sizes, inputs, axes, arguments)
            if dim is None:
                return None
            dims.append(dim)
        return cls(tuple(dims), tensors[0].dtype)

    def of(self, inputs: Inputs) -> tuple[int, ...]:
        """Return the shape that the tensor has for these inputs."""
        return tuple(axis_size(d, inputs) if isinstance(d, str) else d for d in self.dims)

    def __str__(self) -> str:
        """Return the dimensions as a user reads them."""
        return f"({', '.join(str(d) for d in self.dims)})"


@dataclass(frozen=True)
class PassThrough:
    """A tensor that a module returns unchanged from its arguments. `leaf`: its index in the flattened arguments."""

    leaf: int


@dataclass(frozen=True)
class UnknownShape:
    """The place of a tensor whose shape cannot be inferred; nothing stands there in what is built.

    None would not keep the place: outputs of transformers drop their fields that are None.

    Attributes:
        sizes: Its shape in each of the batches.
    """

    sizes: tuple[tuple[int, ...], ...] = ()


def template(
    structures: Sequence[Any],
    inputs: Sequence[Inputs],
    axes: Sequence[str] = (TOKENS,),
    arguments: Sequence[ArgumentShapes] = (),
) -> Any:
    """Return a structure like those given, with a Shape in place of each tensor.

    A tensor whose shape cannot be inferred becomes an UnknownShape; everything else stays as in the first structure.

    Args:
        structures: The results of one module, a structure per batch.
        inputs: The model's inputs of the same batches.
        axes: The axes of the inputs beside BATCH.
        arguments: The shapes of the module's arguments, by their index, for each batch.

    Raises:
        StructureMismatch: The structures differ in more than their tensors' shapes.
    """
    flattened = [tree_flatten(structure) for structure in structures]
    if any(spec != flattened[0][1] for _, spec in flattened):
        raise StructureMismatch
    leaves: list[Any] = []
    for values in zip(*(leaves for leaves, _ in flattened), strict=True):
        tensors = [v for v in values if isinstance(v, torch.Tensor)]
        shape = Shape.infer(tensors, inputs, axes, arguments) if len(tensors) == len(values) else None
        unknown = UnknownShape(tuple(tuple(t.shape) for t in tensors))
        leaves.append((shape or unknown) if tensors else values[0])
    return tree_unflatten(leaves, flattened[0][1])


def instantiate(template: Any, inputs: Inputs, device: torch.device, values: Mapping[int, torch.Tensor]) -> Any:
    """Build the structure of a template for a batch.

    Args:
        template: A structure with Shapes, as `template` returns it.
        inputs: The model's inputs, which say how large the batch is.
        device: Where new tensors are put.
        values: Tensors by their index in the flattened structure; every other Shape becomes zeros.
    """
    leaves, spec = tree_flatten(template)
    built: list[Any] = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Shape):
            value = values[i] if i in values else torch.zeros(leaf.of(inputs), dtype=leaf.dtype, device=device)
            padded = {d: axis.place for d, axis in enumerate(leaf.dims) if isinstance(axis, PaddedAxis)}
            built.append(Unpadded(value, padded) if padded else value)
        else:
            built.append(values.get(i) if isinstance(leaf, UnknownShape) else leaf)
    return tree_unflatten(built, spec)


@dataclass(frozen=True)
class Unpadded:
    """A tensor that gets its last size when the module that returns it is called.

    Attributes:
        value: The tensor, not larger than it will be.
        places: Dimension -> the argument that has its size: index of the leaf, dimension.
    """

    value: torch.Tensor
    places: Mapping[int, tuple[int, int]]

    def padded(self, arguments: Sequence[Any]) -> torch.Tensor:
        """Return the tensor with zeros behind it, as the arguments of the call, flattened, tell."""
        sizes = list(self.value.shape)
        for dim, (leaf, place) in self.places.items():
            sizes[dim] = arguments[leaf].shape[place]
        whole = self.value.new_zeros(sizes)
        whole[tuple(slice(size) for size in self.value.shape)] = self.value
        return whole


@contextmanager
def stubbed(module: nn.Module, answers: Sequence[Any]) -> Iterator[None]:
    """Within this context `module(...)` computes nothing and returns the answers one after the other.

    Leaves of an answer that are a PassThrough are taken from the arguments of the call.
    """
    remaining = iter(answers)

    def forward(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten(next(remaining, None))
        if any(isinstance(leaf, PassThrough | Unpadded) for leaf in leaves):
            arguments = tree_flatten((args, kwargs))[0]
            leaves = [arguments[leaf.leaf] if isinstance(leaf, PassThrough) else leaf for leaf in leaves]
            leaves = [leaf.padded(arguments) if isinstance(leaf, Unpadded) else leaf for leaf in leaves]
        return tree_unflatten(leaves, spec)

    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
