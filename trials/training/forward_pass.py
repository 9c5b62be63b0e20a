"""The forward pass of a model on its device: its number format, the frozen-prefix cache, and the shortcuts.

`Engine` computes gradients and statistics with it. Where the cache and the shortcuts would change an answer, they are
left out, and the trial's log says why.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from luthier.studies.hyperparameters import Params
from luthier.studies.results import Batching
from luthier.studies.spec_keys import Precision as PrecisionName
from luthier.trials.data.batches import pieces
from luthier.trials.data.encoded import Encoded
from luthier.trials.model.memory_format import images_last, is_channels_last
from luthier.trials.prefix import known_padding
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.probe import Outputs
from luthier.trials.prefix.shortcuts import Shortcut
from luthier.trials.prefix.trial_prefix import TrialPrefix
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.scoring import Batch
from luthier.trials.training.halving import run_halving
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.precision import Precision
from luthier.trials.training.weight_copies import WeightCopies, same_with_copies
from luthier.trials.transfer import sent

UNCUT = {
    Batching.LEFT: "inputs are padded on the left, and the frozen-prefix cache and the shortcuts know the right only",
    Batching.SINGLE: "inputs are computed one at a time, and the frozen-prefix cache and the shortcuts need batches",
}
"""Why models have neither cache nor shortcuts, by their batching."""
PROBE_EXAMPLES = 2
"""Examples in the batch that shows whether a model's code works in bfloat16, or in another memory format."""
TIMED_EXAMPLES = 32
"""Examples in the batch by which memory formats are timed on a GPU."""
CHANNELS_LAST = "channels last"  # in the keys of the frozen-prefix cache


class ForwardPass:
    """The forward pass of one model on its device.

    Args:
        model: Its parameters must be frozen as the configuration says by now.
        task: Pads batches, and names the outputs that it needs.
        micro_batch: The number of examples that go through the model together.
        precision: As the spec says it.

    Attributes:
        model: The model.
        device: Where its parameters are.
        precision: The number formats it computes in. The switches of the process are set for the newest one.
        micro_batch: The number of examples that go through the model together.
    """

    def __init__(
        self, model: nn.Module, task: TaskCode[Any], micro_batch: MicroBatch, precision: PrecisionName = "auto"
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.precision = Precision(precision, self.device)
        self.precision.apply()
        self.micro_batch = micro_batch
        self._task = task
        self._channels_last = is_channels_last(model)
        self._prefix: TrialPrefix | None = None
        self._shortcut = Shortcut()
        self._copies: WeightCopies | None = None  # of the weights, in bfloat16

    def enable_shortcuts(
        self, study: OpenStudy, params: Params, splits: Mapping[str, Encoded], session: Session
    ) -> None:
        """Use the frozen-prefix cache for `splits`, and the shortcuts that the blocks above it allow.

        The model must be frozen to the configuration's depth. It is left in evaluation mode.

        Args:
            study: Whose model this is.
            params: The trial's configuration.
            splits: Name -> examples. The first split shows which shortcuts are possible.
            session: Polled while the cache is filled; its log says why there is no cache.

        Raises:
            Ended: The trial is to end now.
            torch.OutOfMemoryError: A single example does not fit.
        """
        self.model.eval()
        first = next(iter(splits.values()))
        self.settle_layout(study, first, session.log)
        self.settle_precision(study, first, session.log)
        if first.batching in UNCUT:
            session.log(f"computes every block of every row: {UNCUT[first.batching]}")
            return
        changed: tuple[str, ...] = () if first.batching is Batching.RIGHT else (first.batching.value,)
        changed += () if study.pooling is None else (study.pooling,)
        changed += (CHANNELS_LAST,) if self._channels_last else ()
        context = PrefixContext(
            key=(study.key, study.data.fingerprint, params["max_length"], self.precision.key, *changed),
            backbone=study.backbone,
            forward=self.forward,
            collate=self.collate,
            counted=self._counted,
            run_halving=lambda compute, rows: run_halving(compute, rows, self.micro_batch, remember=False),
            tick=session.poll,
            log=session.log,
            exact=self._exact_outputs,
        )
        depth = int(params["freeze_depth"])
        self._prefix = study.prefixes.open(context, depth, splits)
        self._shortcut = study.prefixes.shortcut(context, depth, first)
        if self._copies is not None:
            self._copies.has_frozen = self._prefix is None or not self._prefix.covers(first)

    def settle_layout(self, study: OpenStudy, encoded: Encoded, log: Callable[[str], None] = lambda text: None) -> None:
        """Choose the model's memory format, before anything is made of its weights.

        Args:
            study: Whose model this is; it remembers the answer.
            encoded: Its first examples are tried.
            log: Writes a line into the trial's log.
        """
        if study.layout is None:
            return
        count = PROBE_EXAMPLES if self.device.type == "cpu" else TIMED_EXAMPLES
        examples = pieces(encoded, range(min(count, len(encoded))), count)[0]
        self._channels_last = False
        inputs = partial(self.collate, encoded, examples)
        study.layout.settle(self.precision.key, inputs, self.forward, self._exact_outputs, log)
        self._channels_last = is_channels_last(self.model)

    def settle_precision(
        self, study: OpenStudy, encoded: Encoded, log: Callable[[str], None] = lambda text: None
    ) -> None:
        """Compute in float32 where the model's own code does not work in bfloat16, else with copies of the weights.

        Args:
            study: Whose model this is; it remembers the answer.
            encoded: Its first examples are tried.
            log: Writes a line into the trial's log.
        """
        examples = pieces(encoded, range(min(PROBE_EXAMPLES, len(encoded))), PROBE_EXAMPLES)[0]

        def forward() -> Outputs:
            return self.forward(self.collate(encoded, examples))

        self.precision.settle(forward, study.prefixes, log)
        if self.precision.bfloat16 and self.device.type == "cpu":  # on a GPU nothing is measured yet
            if study.prefixes.copies_weights is None:
                study.prefixes.copies_weights = same_with_copies(self.model, forward)
            self._copies = WeightCopies(self.model) if study.prefixes.copies_weights else None

    @property
    def shortcut(self) -> Shortcut:
        """The shortcuts of the blocks that are computed."""
        return self._shortcut

    def close(self) -> None:
        """Close the files of the frozen-prefix cache; the model then computes without it."""
        if self._prefix is not None:
            self._prefix.close()
            self._prefix = None

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Mapping[str, torch.Tensor]:
        """Return the model's inputs for some examples, as a padded batch on its device.

        Args:
            encoded: The split.
            rows: Its examples' numbers.
        """
        return self._inputs(encoded, self._task.stored(encoded, rows))

    def _inputs(self, encoded: Encoded, kept: Batch) -> Batch:
        """Return the model's inputs of what the task has kept, on the model's device."""
        there = {name: sent(values, self.device) for name, values in kept.items()}
        known_padding.told(there, kept)
        return self._task.inputs(encoded, images_last(there) if self._channels_last else there)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Outputs:
        """Return the model's outputs that the task needs, by name."""
        with self._with_copies(), self.precision.autocast():
            return self._named_outputs(inputs)

    def _with_copies(self) -> AbstractContextManager[None]:
        """Return the context in which the model has weights in bfloat16, where it computes in it."""
        return nullcontext() if self._copies is None else self._copies.active()

    def exact(self, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        """Return what counts of the rows' outputs in plain float32, without cache and shortcuts."""
        targets = self._task.collate_targets(encoded, rows)
        with self._task.narrowed(self.model, targets):
            return self._task.counted(self._exact_outputs(self.collate(encoded, rows)), targets)

    def _exact_outputs(self, inputs: Mapping[str, torch.Tensor]) -> Outputs:
        """Return the model's outputs in plain float32, also on a GPU."""
        with self.precision.exact():
            return self._named_outputs(inputs)

    def _named_outputs(self, inputs: Mapping[str, torch.Tensor]) -> Outputs:
        with known_padding.known(inputs):
            result = self.model(**inputs)
        return {name: getattr(result, name) for name in self._task.outputs}

    def _counted(self, outputs: Outputs, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        """Return the part of the rows' outputs that loss and scores depend on."""
        return self._task.counted(outputs, self._task.collate_targets(encoded, rows))

    def outputs(self, encoded: Encoded, rows: Sequence[int]) -> tuple[Outputs, Batch]:
        """Return the model's outputs for some rows, with the cache and the shortcuts, and the rows' targets.

        The rows must be such as may go through the model together: a piece of a batch.
        """
        lengths = [encoded.lengths[row] for row in rows]

        def forward(inputs: Mapping[str, torch.Tensor]) -> Outputs:
            with self._shortcut.active(inputs, lengths), self._task.narrowed(self.model, targets):
                return self.forward(inputs)

        if encoded.augmented:
            changed, targets = self._task.collate_augmented(encoded, rows)
            return self._augmented_outputs(encoded, rows, changed, targets)
        targets = self._task.collate_targets(encoded, rows)
        if self._prefix is not None and self._prefix.covers(encoded):
            return self._prefix.outputs(forward, self.collate, encoded, rows), targets
        return forward(self.collate(encoded, rows)), targets

    def _augmented_outputs(
        self, encoded: Encoded, rows: Sequence[int], changed: Batch, targets: Batch
    ) -> tuple[Outputs, Batch]:
        """Return the model's outputs for inputs of an augmented split, which no cache can have, and the targets."""
        inputs = self._inputs(encoded, changed)
        with self._shortcut.active(inputs, [encoded.lengths[row] for row in rows]):
            return self.forward(inputs), targets
