"""The two things that a trial computes: the gradient of a batch, and the statistics of a split.

The jobs and the set-up of a trial make an `Engine` for each model. Where memory does not suffice it computes in smaller
pieces; each example keeps its weight in the batch, so the result is the same up to rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from luthier.studies.spec_keys import Precision as PrecisionName
from luthier.trials.data.batches import evaluation_batches, pieces
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.targets import Targets
from luthier.trials.prefix.probe import Outputs
from luthier.trials.tasks.base import Loss, TaskCode
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training.collector import Collector, joined
from luthier.trials.training.forward_pass import ForwardPass
from luthier.trials.training.generation import Writing
from luthier.trials.training.halving import run_halving
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.recomputation import recomputing

EVALUATION_BATCH = {"cuda": 256, "cpu": 64}
"""Examples in a batch without gradients, by the kind of device."""
OUTPUT_BYTES = {"cuda": 2**31, "cpu": 2**28}
"""Bytes of the outputs of such a batch at most, where outputs are as wide as a vocabulary."""


class Engine(ForwardPass):
    """Gradients and statistics of one model on its device.

    Args:
        model: Its parameters must be frozen as the configuration says by now.
        task: Pads batches, and reduces the model's outputs.
        micro_batch: The number of examples that go through the model together; lowered when training runs out of
            memory.
        loss: What training minimises; None: the engine computes no gradients.
        precision: As the spec says it.

    Attributes:
        trained: The model's trainable parameters, listed once because a search for them is slow.
        recomputed: The blocks whose inner values are computed again for their gradients; none: all values are kept.
    """

    def __init__(
        self,
        model: nn.Module,
        task: TaskCode[Any],
        micro_batch: MicroBatch,
        loss: Loss | None = None,
        precision: PrecisionName = "auto",
    ) -> None:
        super().__init__(model, task, micro_batch, precision)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.recomputed: Sequence[nn.Module] = ()
        self._loss = loss

    def gradient(self, encoded: Encoded, batch: Sequence[int]) -> torch.Tensor:
        """Set the parameters' gradients to those of the batch's mean loss, and return the loss, (), on the device.

        Args:
            encoded: The training split.
            batch: Its examples' numbers.

        Raises:
            torch.OutOfMemoryError: A single example does not fit.
        """
        assert self._loss is not None
        encoded, batch = encoded.drawn(batch)
        drawn = self._task.collate_augmented(encoded, batch) if encoded.augmented else None  # once for all pieces
        weight = self._loss.weight(self._task.collate_targets(encoded, batch) if drawn is None else drawn[1])

        def computed(size: int) -> Iterator[Callable[[], tuple[Outputs, Batch]]]:
            if drawn is None:
                yield from (partial(self.outputs, encoded, piece) for piece in pieces(encoded, batch, size))
                return
            for start in range(0, len(batch), size):
                inputs, targets = ({k: x[start : start + size] for k, x in part.items()} for part in drawn)
                yield partial(self._augmented_outputs, encoded, batch[start : start + size], inputs, targets)

        def in_pieces(size: int) -> torch.Tensor:
            for parameter in self.trained:
                parameter.grad = None  # a failed attempt leaves gradients, too
            if self._copies is not None:
                self._copies.drop_gradients()
            total = torch.zeros((), device=self.device)
            for compute in computed(size):
                total += self._piece_gradient(compute, weight)
            return total

        loss = run_halving(in_pieces, len(batch), self.micro_batch)
        if self._copies is not None:
            self._copies.expect_step()
        return loss

    def _piece_gradient(
        self, compute: Callable[[], tuple[Outputs, Batch]], weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Add the gradient of a piece's share in the batch's mean loss, and return that share, ()."""
        assert self._loss is not None
        with self._with_copies(), recomputing(self.recomputed):
            loss = self._loss.total(*compute()) / weight
            loss.backward()  # type: ignore[no-untyped-call]
        if self._copies is not None:
            self._copies.take_gradients()
        return loss.detach()

    @torch.no_grad()  # not inference_mode: a model may cache a tensor (rotary tables) that training needs again
    def evaluate(
        self,
        encoded: Encoded,
        targets: Targets,
        tick: Callable[[], None] = lambda: None,
        own: Targets | None = None,
        writing: Writing | None = None,
    ) -> Statistics:
        """Return the statistics of the model's answers to a split, from which every metric is computed.

        Outputs are reduced batch by batch. So memory holds the outputs of one batch, and a few numbers for each unit.

        Args:
            encoded: The split.
            targets: What is learned from its data.
            tick: Called before each batch; it may raise to end the evaluation.
            own: What the model has learned; None: the same.
            writing: Which texts the model writes; None: none.

        Raises:
            torch.OutOfMemoryError: A single example does not fit.
        """
        self.model.eval()
        batches = evaluation_batches(encoded.lengths, self.evaluation_rows(encoded))
        collector = Collector(self._task, encoded, targets, targets if own is None else own)
        for rows in batches:
            tick()
            in_pieces = self._answers_in_pieces(encoded, rows, writing)
            collector.add(rows, run_halving(in_pieces, len(rows), self.micro_batch, remember=False))
        return collector.statistics()

    def evaluation_rows(self, encoded: Encoded) -> Callable[[int], int]:
        """Return the function that says how many rows a batch without gradients may have that begins with a row."""
        most = EVALUATION_BATCH[self.device.type]
        sizes = self._task.output_bytes(self.model, encoded)
        if sizes is None:
            return lambda row: most
        room = OUTPUT_BYTES[self.device.type]
        return lambda row: max(1, min(most, room // sizes[row]))

    def _answers_in_pieces(
        self, encoded: Encoded, rows: Sequence[int], writing: Writing | None = None
    ) -> Callable[[int], Batch]:
        """Return a function that computes the rows' answers in pieces of a size, and has texts written."""

        def answers(piece: Sequence[int]) -> Batch:
            computed = self._task.answers(*self.outputs(encoded, piece))
            return computed if writing is None else computed | writing.tokens(self.model, self._task, encoded, piece)

        return lambda size: joined([answers(piece) for piece in pieces(encoded, rows, size)])
