"""Building a prefix: the activations of one split at one depth are computed and written to a file.

The prefix cache calls it when no worker of the machine has computed them yet.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.trials.data.batches import evaluation_batches, pieces
from luthier.trials.data.encoded import Encoded
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.cut import CannotCut, Cut, capture
from luthier.trials.prefix.field import SHARED, Lengths
from luthier.trials.prefix.rows import ActivationRows, map_file, row_numbers, row_starts, split_lengths

BATCH_EXAMPLES = 64  # in one batch; halved when memory does not suffice


@dataclass(frozen=True)
class ShallowerPrefix:
    """A stored prefix of a lower depth, from which a deeper one is computed."""

    depth: int
    cut: Cut
    rows: ActivationRows


@dataclass(frozen=True)
class PrefixBuild:
    """The prefix of a split, which is to be computed.

    Attributes:
        context: The trial's model, and how to run it.
        depth: Number of frozen blocks.
        split: The split's name, for the log.
        encoded: The split's examples.
        cut: The model's cut at this depth.
        below: The prefix to start from; None: the model's inputs.
    """

    context: PrefixContext
    depth: int
    split: str
    encoded: Encoded
    cut: Cut
    below: ShallowerPrefix | None

    def write(self, path: Path) -> None:
        """Compute the activations of every example, and write them to a file of the right size.

        Raises:
            CannotCut: The rows of some examples have another shape.
            Ended: The trial is to end.
        """
        started = time.perf_counter()
        lengths = split_lengths(self.encoded)
        flat = map_file(path, self.cut.fields, lengths, write=True)
        starts = row_starts(self.cut.fields, lengths)
        self._write_shared(flat, lengths)
        for batch in evaluation_batches(self.encoded.lengths, BATCH_EXAMPLES):
            self.context.tick()
            self._write_batch(flat, lengths, starts, batch)
        origin = "the model's inputs" if self.below is None else f"depth {self.below.depth}"
        seconds = time.perf_counter() - started
        self.context.log(
            f"frozen prefix of depth {self.depth}: {len(self.encoded)} {self.split} examples "
            f"from {origin} in {seconds:.1f} s"
        )

    def _write_batch(
        self,
        flat: Sequence[torch.Tensor],
        whole: Lengths,
        starts: Mapping[str, Sequence[int]],
        batch: Sequence[int],
    ) -> None:
        """Write the rows of some examples. `whole`: the split's lengths; `starts`: from `row_starts`."""

        def compute(size: int) -> None:
            for piece in pieces(self.encoded, batch, size):
                lengths = {axis: [own[j] for j in piece] for axis, own in whole.items()}
                for field, rows, value in zip(self.cut.fields, flat, self._activations(piece), strict=True):
                    if field.kind == SHARED:
                        continue
                    computed = field.to_rows(value, lengths)
                    if computed.shape[1:] != field.row:
                        text = f"the output of {field.part} has rows of the shape {tuple(computed.shape[1:])} for some"
                        raise CannotCut(f"{text} inputs and {field.row} for others")
                    rows[row_numbers(field, starts, piece)] = computed.to("cpu", rows.dtype)

        self.context.run_halving(compute, len(batch))

    def _write_shared(self, flat: Sequence[torch.Tensor], lengths: Lengths) -> None:
        """Write what all examples share, of a batch of those that are the longest on one of the axes."""
        if all(field.kind != SHARED for field in self.cut.fields):
            return
        examples = range(len(self.encoded))
        longest = sorted({max(examples, key=own.__getitem__) for own in lengths.values()})
        for field, rows, value in zip(self.cut.fields, flat, self._activations(longest), strict=True):
            if field.kind == SHARED:
                if value.shape != rows.shape:
                    text = f"the output of {field.part} has the shape {tuple(value.shape)} for the longest inputs"
                    raise CannotCut(f"{text} and not {tuple(rows.shape)}")
                rows[:] = value.to("cpu", rows.dtype)

    def _activations(self, batch: Sequence[int]) -> list[torch.Tensor]:
        """Return the fields' tensors for some examples."""
        inputs = self.context.collate(self.encoded, batch)
        if self.below is None:
            return capture(self.cut, self.context.forward, inputs)
        with self.below.cut.injecting(self.below.rows.values(batch, inputs), inputs):
            return capture(self.cut, self.context.forward, inputs)
