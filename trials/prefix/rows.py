"""Rows of activations in a file: a flat tensor for each field of a cut, without padding.

A file holds one split at one depth. The prefix cache and its build use it.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO

import torch

from luthier.trials.data.encoded import Encoded
from luthier.trials.model.memory_format import like
from luthier.trials.prefix.axes import TOKENS, InnerAxis, Inputs
from luthier.trials.prefix.field import SHARED, Field, Lengths
from luthier.trials.prefix.probe import PER_TOKEN
from luthier.trials.transfer import sent

ALIGNED = 64  # bytes, at which each field's rows start


class ActivationRows:
    """The fields of one split's examples, as flat tensors over an open file.

    Args:
        file: The open file; this closes it.
        fields: The cut's fields.
        lengths: The split's, from `split_lengths`.

    Attributes:
        flat: A tensor for each field, (rows, *row).
    """

    def __init__(self, file: IO[bytes], fields: Sequence[Field], lengths: Lengths) -> None:
        self._file = file
        self._fields = fields
        self._lengths = {axis: lengths[axis] for axis in {field.axis for field in fields} if axis is not None}
        self._starts = row_starts(fields, lengths)
        self.flat = map_file(file.name, fields, lengths, write=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.flat)

    def to(self, device: torch.device) -> None:
        """Copy the rows to a device, and close the file."""
        self.flat = [tensor.to(device) for tensor in self.flat]
        self._file.close()

    def values(self, rows: Sequence[int], inputs: Inputs) -> list[torch.Tensor]:
        """Return the fields' tensors for a batch of these examples, on the inputs' device.

        Args:
            rows: The examples' numbers in the split.
            inputs: The model's inputs of the batch.
        """
        lengths = {axis: [own[i] for i in rows] for axis, own in self._lengths.items()}
        device = next(iter(inputs.values())).device
        values = []
        for field, flat in zip(self._fields, self.flat, strict=True):
            if field.kind == SHARED:
                values.append(sent(field.from_rows(flat, lengths, inputs), device))
                continue
            at = sent(row_numbers(field, self._starts, rows), flat.device)
            selected = sent(flat.index_select(0, at), device)
            values.append(like(field.from_rows(selected, lengths, inputs), inputs))
        return values

    def close(self) -> None:
        """Close the file, which other workers may then remove."""
        self._file.close()


def split_lengths(encoded: Encoded) -> Lengths:
    """Return the length of each example of a split on each axis of its inputs, and on those the model makes of them."""
    inner: dict[str, Sequence[int]] = {
        InnerAxis.of(name, size): [size(length) for length in encoded.lengths]
        for name, size in encoded.inner_lengths.items()
    }
    return {TOKENS: encoded.lengths, **encoded.further_lengths, **inner}


def row_starts(fields: Sequence[Field], lengths: Lengths) -> dict[str, list[int]]:
    """Return the number of tokens before each example of a split, and of all, for each axis of the fields."""
    axes = {field.axis for field in fields if field.kind == PER_TOKEN}
    return {axis: [0, *accumulate(lengths[axis])] for axis in axes if axis is not None}


def row_numbers(field: Field, starts: Mapping[str, Sequence[int]], examples: Sequence[int]) -> torch.Tensor:
    """Return the numbers of a field's rows that belong to some examples.

    Args:
        field: The field.
        starts: From `row_starts`.
        examples: The examples' numbers in the split.
    """
    if field.kind != PER_TOKEN or field.axis is None:
        return torch.tensor(examples)
    own = starts[field.axis]
    return torch.cat([torch.arange(own[i], own[i + 1]) for i in examples])


def file_layout(fields: Sequence[Field], lengths: Lengths) -> tuple[list[int], int]:
    """Return the byte at which each field's rows start, and the file's size in bytes."""
    starts = []
    end = 0
    for field in fields:
        starts.append(end)
        size = torch.Size(field.stored(lengths)).numel() * field.shape.dtype.itemsize
        end += -(-size // ALIGNED) * ALIGNED
    return starts, end


def map_file(path: str | Path, fields: Sequence[Field], lengths: Lengths, write: bool) -> list[torch.Tensor]:
    """Map a file into memory, and return each field's rows in it, (rows, *row).

    Args:
        path: A file of the size that `file_layout` says.
        fields: The cut's fields.
        lengths: The split's, from `split_lengths`.
        write: True to write changes of the tensors to the file.
    """
    starts, end = file_layout(fields, lengths)
    whole = torch.from_file(str(path), shared=write, size=end, dtype=torch.uint8)
    flat = []
    for field, start in zip(fields, starts, strict=True):
        shape = field.stored(lengths)
        length = torch.Size(shape).numel() * field.shape.dtype.itemsize
        flat.append(whole[start : start + length].view(field.shape.dtype).view(shape))
    return flat
