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

Inputs = Mapping[str, torch.Tensor]  # a batch of the model's inputs

BATCH, TOKENS = "batch", "tokens"  # dimensions that differ from batch to batch


class StructureMismatch(Exception):
    """A module returned structures of different forms for several batches."""


@dataclass(frozen=True)
class Shape:
    """A tensor's shape and type.

    Attributes:
        dims: Each dimension's size; BATCH or TOKENS where it is the number of examples or tokens of the inputs.
        dtype: The tensor's type.
    """

    dims: tuple[int | str, ...]
    dtype: torch.dtype

    @classmethod
    def infer(cls, tensors: Sequence[torch.Tensor], inputs: Sequence[Inputs]) -> "Shape | None":
        """Infer a shape from one tensor per batch, over batches of different sizes.

        Args:
            tensors: The results of one module, a tensor per batch.
            inputs: The model's inputs of the same batches.

        Returns:
            The shape, or None if a dimension differs and is neither the batch's size nor its number of tokens.
        """
        if len({t.ndim for t in tensors}) != 1:
            return None
        dims: list[int | str] = []
        for sizes in zip(*(t.shape for t in tensors), strict=True):
            if len(set(sizes)) == 1:
                dims.append(sizes[0])
            elif sizes == tuple(input_sizes(i)[BATCH] for i in inputs):
                dims.append(BATCH)
            elif sizes == tuple(input_sizes(i)[TOKENS] for i in inputs):
                dims.append(TOKENS)
            else:
                return None
        return cls(tuple(dims), tensors[0].dtype)

    def of(self, inputs: Inputs) -> tuple[int, ...]:
        """Return the shape that the tensor has for these inputs."""
        sizes = input_sizes(inputs)
        return tuple(sizes[d] if isinstance(d, str) else d for d in self.dims)


@dataclass(frozen=True)
class PassThrough:
    """A tensor that a module returns unchanged from its arguments. `leaf`: its index in the flattened arguments."""

    leaf: int


@dataclass(frozen=True)
class UnknownShape:
    """The place of a tensor whose shape cannot be inferred; nothing stands there in what is built.

    None would not keep the place: outputs of transformers drop their fields that are None.
    """


def input_sizes(inputs: Inputs) -> dict[str, int]:
    """Return a batch's number of examples (BATCH) and the number of tokens that it is padded to (TOKENS)."""
    first = next(iter(inputs.values()))
    return {BATCH: first.shape[0], TOKENS: first.shape[1] if first.ndim > 1 else 1}


def template(structures: Sequence[Any], inputs: Sequence[Inputs]) -> Any:
    """Return a structure like those given, with a Shape in place of each tensor.

    A tensor whose shape cannot be inferred becomes an UnknownShape; everything else stays as in the first structure.

    Args:
        structures: The results of one module, a structure per batch.
        inputs: The model's inputs of the same batches.

    Raises:
        StructureMismatch: The structures differ in more than their tensors' shapes.
    """
    flattened = [tree_flatten(structure) for structure in structures]
    if any(spec != flattened[0][1] for _, spec in flattened):
        raise StructureMismatch
    leaves: list[Any] = []
    for values in zip(*(leaves for leaves, _ in flattened), strict=True):
        tensors = [v for v in values if isinstance(v, torch.Tensor)]
        shape = Shape.infer(tensors, inputs) if len(tensors) == len(values) else None
        leaves.append((shape or UnknownShape()) if tensors else values[0])
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
    built = [
        values[i]
        if i in values
        else torch.zeros(leaf.of(inputs), dtype=leaf.dtype, device=device)
        if isinstance(leaf, Shape)
        else None
        if isinstance(leaf, UnknownShape)
        else leaf
        for i, leaf in enumerate(leaves)
    ]
    return tree_unflatten(built, spec)


@contextmanager
def stubbed(module: nn.Module, answer: Any) -> Iterator[None]:
    """Within this context `module(...)` computes nothing and returns `answer`.

    Leaves of the answer that are a PassThrough are taken from the arguments of the call.
    """
    leaves, spec = tree_flatten(answer)
    passed = [(i, leaf.leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, PassThrough)]

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not passed:
            return answer
        arguments = tree_flatten((args, kwargs))[0]
        answered = list(leaves)
        for i, leaf in passed:
            answered[i] = arguments[leaf]
        return tree_unflatten(answered, spec)

    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
