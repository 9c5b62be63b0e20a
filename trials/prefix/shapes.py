"""What a module returned, as a structure that can be made again for a batch of another size, or answered without it."""

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
    """Structures of several batches are not of one form."""


@dataclass(frozen=True)
class Shape:
    """A tensor's shape, in which the batch and the tokens of the model's inputs are variables."""

    dims: tuple[int | str, ...]
    dtype: torch.dtype

    @classmethod
    def infer(cls, tensors: Sequence[torch.Tensor], inputs: Sequence[Inputs]) -> "Shape | None":
        """From one tensor a batch, over batches of different sizes; None when they do not tell."""
        if len({t.ndim for t in tensors}) != 1:
            return None
        dims: list[int | str] = []
        for sizes in zip(*(t.shape for t in tensors), strict=True):
            if len(set(sizes)) == 1:
                dims.append(sizes[0])
            elif sizes == tuple(size(i)[BATCH] for i in inputs):
                dims.append(BATCH)
            elif sizes == tuple(size(i)[TOKENS] for i in inputs):
                dims.append(TOKENS)
            else:
                return None
        return cls(tuple(dims), tensors[0].dtype)

    def of(self, inputs: Inputs) -> tuple[int, ...]:
        sizes = size(inputs)
        return tuple(sizes[d] if isinstance(d, str) else d for d in self.dims)


@dataclass(frozen=True)
class PassThrough:
    """A tensor that a module hands on as it came: which of its arguments, flattened."""

    leaf: int


def size(inputs: Inputs) -> dict[str, int]:
    """Examples of a batch, and the length it is padded to."""
    first = next(iter(inputs.values()))
    return {BATCH: first.shape[0], TOKENS: first.shape[1] if first.ndim > 1 else 1}


def template(structures: Sequence[Any], inputs: Sequence[Inputs]) -> Any:
    """A structure with a Shape for each tensor, None for one whose shape cannot be told, and all else as it is.

    Raises StructureMismatch when the structure itself differs from batch to batch.
    """
    flats = [tree_flatten(structure) for structure in structures]
    if any(spec != flats[0][1] for _, spec in flats):
        raise StructureMismatch
    leaves: list[Any] = []
    for values in zip(*(leaves for leaves, _ in flats), strict=True):
        tensors = [v for v in values if isinstance(v, torch.Tensor)]
        leaves.append(
            values[0] if not tensors else Shape.infer(tensors, inputs) if len(tensors) == len(values) else None
        )
    return tree_unflatten(leaves, flats[0][1])


def instantiate(template: Any, inputs: Inputs, device: torch.device, values: Mapping[int, torch.Tensor]) -> Any:
    flat, spec = tree_flatten(template)
    leaves = [
        values[i]
        if i in values
        else torch.zeros(leaf.of(inputs), dtype=leaf.dtype, device=device)
        if isinstance(leaf, Shape)
        else leaf
        for i, leaf in enumerate(flat)
    ]
    return tree_unflatten(leaves, spec)


@contextmanager
def stubbed(module: nn.Module, answer: Any) -> Iterator[None]:
    """Within it, the module returns `answer` whatever it is given, but for what it hands on."""
    flat, spec = tree_flatten(answer)
    handed = [(i, leaf.leaf) for i, leaf in enumerate(flat) if isinstance(leaf, PassThrough)]

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not handed:
            return answer
        given, answered = tree_flatten((args, kwargs))[0], list(flat)
        for i, leaf in handed:
            answered[i] = given[leaf]
        return tree_unflatten(answered, spec)

    own = module.__dict__.get("forward")
    module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own  # type: ignore[method-assign]
