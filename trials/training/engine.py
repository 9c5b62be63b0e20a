"""The two things that a trial computes: the gradient of a batch, and the logits of a split.

The jobs and the set-up of a trial make an `Engine` for each model. Where memory does not suffice it computes in smaller
pieces; each example keeps its weight in the batch, so the result is the same up to rounding.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.studies.spec import Precision as PrecisionName
from luthier.trials.data.batches import evaluation_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.shortcuts import Shortcut
from luthier.trials.prefix.trial_prefix import TrialPrefix
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.training.halving import run_halving
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import OpenStudy
from luthier.trials.training.precision import Precision

EVALUATION_BATCH = {"cuda": 256, "cpu": 64}
"""Examples in a batch without gradients, by the kind of device."""
PROBE_EXAMPLES = 2
"""Examples in the batch that shows whether a model's code works in bfloat16."""


class Engine:
    """Gradients and predictions of one model on its device.

    Args:
        model: Its parameters must be frozen as the configuration says by now.
        task: Pads batches.
        micro_batch: The number of examples that go through the model together; lowered when training runs out of
            memory.
        smoothing: Share of the target probability that is spread over all classes (label smoothing).
        weights: (classes,) loss weight of each class; None: all alike.
        precision: As the spec says it.

    Attributes:
        model: The model.
        device: Where its parameters are.
        trained: Its trainable parameters, listed once because a search for them is slow.
        precision: The number formats it computes in. The switches of the process are set for the newest engine.
    """

    def __init__(
        self,
        model: nn.Module,
        task: TaskCode,
        micro_batch: MicroBatch,
        smoothing: float = 0.0,
        weights: torch.Tensor | None = None,
        precision: PrecisionName = "auto",
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.precision = Precision(precision, self.device)
        self.precision.apply()
        self._task = task
        self._micro_batch = micro_batch
        self._smoothing = smoothing
        self._weights = None if weights is None else weights.to(self.device)
        self._prefix: TrialPrefix | None = None
        self._shortcut = Shortcut()

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
        self.settle_precision(study, first, session.log)
        context = PrefixContext(
            key=(study.key, study.data.fingerprint, params["max_length"], self.precision.key),
            backbone=study.backbone,
            forward=self.forward,
            collate=self.collate,
            run_halving=lambda compute, rows: run_halving(compute, rows, self._micro_batch, remember=False),
            tick=session.poll,
            log=session.log,
            exact=self._exact_logits,
        )
        depth = int(params["freeze_depth"])
        self._prefix = study.prefixes.open(context, depth, splits)
        self._shortcut = study.prefixes.shortcut(context, depth, first)

    def settle_precision(
        self, study: OpenStudy, encoded: Encoded, log: Callable[[str], None] = lambda text: None
    ) -> None:
        """Compute in float32 where the model's own code does not work in bfloat16.

        Args:
            study: Whose model this is; it remembers the answer.
            encoded: Its first examples are tried.
            log: Writes a line into the trial's log.
        """
        examples = range(min(PROBE_EXAMPLES, len(encoded)))
        self.precision.settle(lambda: self.forward(self.collate(encoded, examples)), study.prefixes, log)

    @property
    def shortcut(self) -> Shortcut:
        """The shortcuts of the blocks that are computed."""
        return self._shortcut

    def close(self) -> None:
        """Close the files of the frozen-prefix cache; the engine then computes without it."""
        if self._prefix is not None:
            self._prefix.close()
            self._prefix = None

    def gradient(self, encoded: Encoded, batch: Sequence[int]) -> torch.Tensor:
        """Set the parameters' gradients to those of the batch's mean loss, and return the loss, (), on the device.

        Args:
            encoded: The training split.
            batch: Its examples' numbers.

        Raises:
            torch.OutOfMemoryError: A single example does not fit.
        """

        def in_pieces(size: int) -> torch.Tensor:
            for parameter in self.trained:
                parameter.grad = None  # a failed attempt leaves gradients, too
            total = torch.zeros((), device=self.device)
            for start in range(0, len(batch), size):
                total += self._piece_gradient(encoded, batch[start : start + size], batch)
            return total

        return run_halving(in_pieces, len(batch), self._micro_batch)

    def _piece_gradient(self, encoded: Encoded, piece: Sequence[int], batch: Sequence[int]) -> torch.Tensor:
        """Add the gradient of the piece's share in the batch's mean loss, and return that share, ()."""
        labels = encoded.labels[encoded.units(piece)].to(self.device, non_blocking=True)  # (units of the piece,)
        units = encoded.units(batch)  # (units of the batch,)
        total_weight: float | torch.Tensor = len(units)
        if self._weights is not None:
            total_weight = self._weights[encoded.labels[units].to(self.device)].sum()
        logits = self._logits(encoded, piece)  # (units of the piece, classes)
        loss = functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="sum"
        )
        loss = loss / total_weight
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()  # not inference_mode: a model may cache a tensor (rotary tables) that training needs again
    def predict(self, encoded: Encoded, tick: Callable[[], None] = lambda: None) -> torch.Tensor:
        """Return the logits of every unit, (units, classes), in float32 on the CPU.

        Args:
            encoded: The split.
            tick: Called before each batch; it may raise to end the prediction.

        Raises:
            torch.OutOfMemoryError: A single example does not fit.
        """
        self.model.eval()

        def in_pieces(rows: Sequence[int]) -> Callable[[int], torch.Tensor]:
            return lambda size: torch.cat(
                [self._logits(encoded, rows[start : start + size]) for start in range(0, len(rows), size)]
            )

        batches = evaluation_batches(encoded.lengths, EVALUATION_BATCH[self.device.type])
        parts = []
        for rows in batches:
            tick()
            parts.append(run_halving(in_pieces(rows), len(rows), self._micro_batch, remember=False))
        logits = torch.cat(parts).cpu()  # (units, classes), longest examples first; the one wait for the device
        ordered = torch.empty_like(logits)
        ordered[torch.cat([encoded.units(rows) for rows in batches])] = logits
        return ordered

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Mapping[str, torch.Tensor]:
        """Return the model's inputs for some examples, as a padded batch on its device.

        Args:
            encoded: The split.
            rows: Its examples' numbers.
        """
        inputs = self._task.collate(encoded, rows)
        if self.device.type == "cuda":
            return {name: values.pin_memory().to(self.device, non_blocking=True) for name, values in inputs.items()}
        return inputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the model's logits, (batch, classes) or (batch, tokens, classes), for its inputs."""
        with self.precision.autocast():
            logits: torch.Tensor = self.model(**inputs).logits
        return logits

    def _exact_logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the model's logits in plain float32, also on a GPU."""
        with self.precision.exact():
            logits: torch.Tensor = self.model(**inputs).logits
        return logits

    def _logits(self, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        """Return the logits of the examples' units, (units, classes), in float32, with the cache and the shortcuts."""
        lengths = [encoded.lengths[row] for row in rows]

        def forward(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            with self._shortcut.active(inputs, lengths):
                return self.forward(inputs)

        if self._prefix is not None and self._prefix.covers(encoded):
            logits = self._prefix.logits(forward, self.collate, encoded, rows)
        else:
            logits = forward(self.collate(encoded, rows))
        return encoded.select(logits, rows).float()
