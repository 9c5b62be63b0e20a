"""Rows of activations in a file: a flat tensor for each field of a cut, without padding.

A file holds one split at one depth. The prefix cache and its build use it.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO

import torch

from luthier.trials.prefix.cut import Field
from luthier.trials.prefix.probe import PER_TOKEN
from luthier.trials.prefix.shapes import TOKENS, Inputs, input_sizes

ALIGNED = 64  # bytes, at which each field's rows start


class ActivationRows:
    """The fields of one split's examples, as flat tensors over an open file.

    Args:
        file: The open file; this closes it.
        fields: The cut's fields.
        lengths: Tokens of each example of the split, without padding.

    Attributes:
        flat: A tensor for each field, (rows, *row).
    """

    def __init__(self, file: IO[bytes], fields: Sequence[Field], lengths: Sequence[int]) -> None:
        self._file = file
        self._fields = fields
        self._lengths = lengths
        self._starts = [0, *accumulate(lengths)]
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
        """Return the fields' tensors for a batch of these examples, (batch, ...) each, on the inputs' device.

        Args:
            rows: The examples' numbers in the split.
            inputs: The model's inputs of the batch.
        """
        lengths = [self._lengths[i] for i in rows]
        device = next(iter(inputs.values())).device
        values = []
        for field, flat in zip(self._fields, self.flat, strict=True):
            at = row_numbers(field, self._starts, rows).to(flat.device, non_blocking=True)
            selected = flat.index_select(0, at).to(device, non_blocking=True)
            values.append(field.from_rows(selected, lengths, input_sizes(inputs)[TOKENS]))
        return values

    def close(self) -> None:
        """Close the file, which other workers may then remove."""
        self._file.close()


def row_numbers(field: Field, starts: Sequence[int], examples: Sequence[int]) -> torch.Tensor:
    """Return the numbers of a field's rows that belong to some examples.

    Args:
        field: The field.
        starts: Tokens before each example of the split.
        examples: The examples' numbers in the split.
    """
    if field.kind != PER_TOKEN:
        return torch.tensor(examples)
    return torch.cat([torch.arange(starts[i], starts[i + 1]) for i in examples])


def row_counts(fields: Sequence[Field], lengths: Sequence[int]) -> list[int]:
    """Return each field's number of rows, for a split whose examples have these lengths in tokens."""
    return [sum(lengths) if field.kind == PER_TOKEN else len(lengths) for field in fields]


def file_layout(fields: Sequence[Field], lengths: Sequence[int]) -> tuple[list[int], int]:
    """Return the byte at which each field's rows start, and the file's size in bytes."""
    starts = []
    end = 0
    for field, count in zip(fields, row_counts(fields, lengths), strict=True):
        starts.append(end)
        row = field.shape.dtype.itemsize
        for dim in field.row:
            row *= dim
        end += -(-count * row // ALIGNED) * ALIGNED
    return starts, end


def map_file(path: str | Path, fields: Sequence[Field], lengths: Sequence[int], write: bool) -> list[torch.Tensor]:
    """Map a file into memory, and return each field's rows in it, (rows, *row).

    Args:
        path: A file of the size that `file_layout` says.
        fields: The cut's fields.
        lengths: Tokens of each example of the split, without padding.
        write: True to write changes of the tensors to the file.
    """
    starts, end = file_layout(fields, lengths)
    whole = torch.from_file(str(path), shared=write, size=end, dtype=torch.uint8)
    flat = []
    for field, start, count in zip(fields, starts, row_counts(fields, lengths), strict=True):
        shape = (count, *field.row)
        length = torch.Size(shape).numel() * field.shape.dtype.itemsize
        flat.append(whole[start : start + length].view(field.shape.dtype).view(shape))
    return flat
