"""Rows of activations in a file: for each field one tensor, without padding."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO

import torch

from luthier.trials.prefix.cut import Field
from luthier.trials.prefix.shapes import TOKENS, Inputs, size

ALIGNED = 64  # bytes, at which each field's rows start


class Rows:
    """The fields of one split's examples, as flat tensors over an open file."""

    def __init__(self, file: IO[bytes], fields: Sequence[Field], lengths: Sequence[int]) -> None:
        self._file, self._fields, self._lengths = file, fields, lengths
        self._starts = [0, *accumulate(lengths)]
        self.flat = mapped(file.name, fields, lengths, write=False)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.flat)

    def to(self, device: torch.device) -> None:
        """Copy the rows to a device, and let go of the file."""
        self.flat = [tensor.to(device) for tensor in self.flat]
        self._file.close()

    def values(self, rows: Sequence[int], inputs: Inputs) -> list[torch.Tensor]:
        """What crosses the cut for a batch of these examples."""
        lengths = [self._lengths[i] for i in rows]
        device = next(iter(inputs.values())).device
        found = []
        for field, flat in zip(self._fields, self.flat, strict=True):
            at = row_numbers(field, self._starts, rows).to(flat.device, non_blocking=True)
            chosen = flat.index_select(0, at).to(device, non_blocking=True)
            found.append(field.restored(chosen, lengths, size(inputs)[TOKENS]))
        return found

    def close(self) -> None:
        self._file.close()


def row_numbers(field: Field, starts: Sequence[int], rows: Sequence[int]) -> torch.Tensor:
    """Where a field's rows of some examples lie."""
    if field.kind != "tokens":
        return torch.tensor(rows)
    return torch.cat([torch.arange(starts[i], starts[i + 1]) for i in rows])


def row_counts(fields: Sequence[Field], lengths: Sequence[int]) -> list[int]:
    return [sum(lengths) if field.kind == "tokens" else len(lengths) for field in fields]


def layout(fields: Sequence[Field], lengths: Sequence[int]) -> tuple[list[int], int]:
    """Byte at which each field's rows start, and the file's size."""
    starts, end = [], 0
    for field, count in zip(fields, row_counts(fields, lengths), strict=True):
        starts.append(end)
        row = field.shape.dtype.itemsize
        for dim in field.row:
            row *= dim
        end += -(-count * row // ALIGNED) * ALIGNED
    return starts, end


def mapped(path: str | Path, fields: Sequence[Field], lengths: Sequence[int], write: bool) -> list[torch.Tensor]:
    """Each field's rows, (rows, *row), in a file's memory."""
    starts, end = layout(fields, lengths)
    whole = torch.from_file(str(path), shared=write, size=end, dtype=torch.uint8)
    found = []
    for field, start, count in zip(fields, starts, row_counts(fields, lengths), strict=True):
        shape = (count, *field.row)
        length = torch.Size(shape).numel() * field.shape.dtype.itemsize
        found.append(whole[start : start + length].view(field.shape.dtype).view(shape))
    return found
