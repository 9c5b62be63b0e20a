"""The two things a trial computes: the gradient of a batch, and the logits of a split.

Both answer a lack of memory with smaller run_halving. The result is the same up to rounding: each example keeps its
weight in the batch.
"""

import contextlib
import gc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.studies.spec import Precision
from luthier.trials.data.batches import evaluation_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.memory import out_of_memory
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.shortcuts import Shortcut
from luthier.trials.prefix.trial_prefix import TrialPrefix
from luthier.trials.session import Session
from luthier.trials.tasks.registry import TaskModule
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import OpenStudy

EVALUATION_BATCH = {"cuda": 256, "cpu": 64}

Result = TypeVar("Result")


class Engine:
    """One trial's model on its device. `weights`: loss weight per class, or None."""

    def __init__(
        self,
        model: nn.Module,
        task: TaskModule,
        micro_batch: MicroBatch,
        smoothing: float = 0.0,
        weights: torch.Tensor | None = None,
        precision: Precision = "auto",
    ) -> None:
        self.model, self._task, self._micro_batch, self._smoothing = model, task, micro_batch, smoothing
        self.device = next(model.parameters()).device
        self.trained = [p for p in model.parameters() if p.requires_grad]  # listed once: to look for them takes long
        self._weights = None if weights is None else weights.to(self.device)
        self._prefix: TrialPrefix | None = None
        self._shortcut = Shortcut()
        gpu = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self._bf16 = precision == "bfloat16" or (precision == "auto" and gpu)
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 where a matrix is still float32

    def enable_shortcuts(
        self, opened: OpenStudy, params: Params, splits: Mapping[str, Encoded], session: Session
    ) -> None:
        """Take from the cache what a frozen part computes of some splits, and leave out what nobody looks at above.

        The model must be frozen to the configuration's depth. It is left in evaluation mode.
        """
        self.model.eval()
        self.settle_precision(opened, next(iter(splits.values())), session.log)
        precision = f"{'bfloat16' if self._bf16 else 'float32'} on {self.device.type}"
        source = PrefixContext(
            key=(opened.key, opened.data.fingerprint, params["max_length"], precision),
            backbone=opened.backbone,
            forward=self.forward,
            collate=self.collate,
            run_halving=lambda compute, rows: self._smaller_on_oom(compute, rows, remember=False),
            tick=session.poll,
            log=session.log,
            exact=self._exact,
        )
        depth = int(params["freeze_depth"])
        self._prefix = opened.prefixes.open(source, depth, splits)
        self._shortcut = opened.prefixes.shortcut(source, depth, next(iter(splits.values())))

    def settle_precision(
        self, opened: OpenStudy, encoded: Encoded, log: Callable[[str], None] = lambda text: None
    ) -> None:
        """Compute in float32 where the model's own code cannot do with bfloat16 (DeBERTa's cannot)."""
        known = opened.prefixes
        if self._bf16 and known.rejects_bfloat16 is None:
            try:
                with torch.no_grad():
                    self.forward(self.collate(encoded, range(min(2, len(encoded)))))
                known.rejects_bfloat16 = False
            except RuntimeError as error:
                if out_of_memory(error):
                    raise
                known.rejects_bfloat16 = True
        if self._bf16 and known.rejects_bfloat16:
            log("computes in float32: this model's code does not work in bfloat16")
            self._bf16 = False

    @property
    def shortcut(self) -> Shortcut:
        """What the blocks leave out."""
        return self._shortcut

    def close(self) -> None:
        """Let go of the cache's files."""
        if self._prefix is not None:
            self._prefix.close()
            self._prefix = None

    def gradient(self, encoded: Encoded, batch: Sequence[int]) -> torch.Tensor:
        """Add the gradient of the batch's mean loss to the parameters; the loss (), on the device."""

        def whole(size: int) -> torch.Tensor:
            for parameter in self.trained:
                parameter.grad = None  # also what a failed attempt left
            total = torch.zeros((), device=self.device)
            for start in range(0, len(batch), size):
                total += self._part(encoded, batch[start : start + size], batch)
            return total

        return self._smaller_on_oom(whole, len(batch))

    def _part(self, encoded: Encoded, part: Sequence[int], batch: Sequence[int]) -> torch.Tensor:
        labels = encoded.labels[encoded.units(part)].to(self.device, non_blocking=True)  # (units,)
        units = encoded.units(batch)
        share: float | torch.Tensor = len(units)
        if self._weights is not None:
            share = self._weights[encoded.labels[units].to(self.device)].sum()
        logits = self._logits(encoded, part)  # (units, classes)
        loss = functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="sum"
        )
        loss = loss / share
        loss.backward()
        return loss.detach()

    @torch.no_grad()  # not inference_mode: a model may cache a tensor (rotary tables) that training needs again
    def predict(self, encoded: Encoded, tick: Callable[[], None] = lambda: None) -> torch.Tensor:
        """Logits of every unit, (units, classes), float32 on the CPU. Calls `tick` before each batch."""
        self.model.eval()

        def part(rows: Sequence[int]) -> Callable[[int], torch.Tensor]:
            return lambda size: torch.cat(
                [self._logits(encoded, rows[i : i + size]) for i in range(0, len(rows), size)]
            )

        batches = evaluation_batches(encoded.lengths, EVALUATION_BATCH[self.device.type])
        found = []
        for rows in batches:
            tick()
            found.append(self._smaller_on_oom(part(rows), len(rows), remember=False))
        logits = torch.cat(found).cpu()  # the evaluation's one wait for the device
        ordered = torch.empty_like(logits)
        ordered[torch.cat([encoded.units(rows) for rows in batches])] = logits
        return ordered

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Mapping[str, torch.Tensor]:
        """The model's inputs for some examples, on its device."""
        inputs = self._task.collate(encoded, rows)
        if self.device.type == "cuda":
            inputs = {k: v.pin_memory().to(self.device, non_blocking=True) for k, v in inputs.items()}
        return inputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The model's logits for its inputs."""
        with torch.autocast(self.device.type, torch.bfloat16) if self._bf16 else contextlib.nullcontext():
            logits: torch.Tensor = self.model(**inputs).logits
        return logits

    def _exact(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits in plain float32, also on a GPU."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            logits: torch.Tensor = self.model(**inputs).logits
        finally:
            torch.set_float32_matmul_precision(before)
        return logits

    def _logits(self, encoded: Encoded, rows: Sequence[int]) -> torch.Tensor:
        lengths = [encoded.lengths[i] for i in rows]

        def forward(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            with self._shortcut.active(inputs, lengths):
                return self.forward(inputs)

        if self._prefix is not None and self._prefix.covers(encoded):
            logits = self._prefix.logits(forward, self.collate, encoded, rows)
        else:
            logits = forward(self.collate(encoded, rows))
        return encoded.select(logits, rows).float()

    def _smaller_on_oom(self, compute: Callable[[int], Result], rows: int, remember: bool = True) -> Result:
        """compute(size) with pieces half as large each time memory does not suffice. Raises OutOfMemoryError at 1."""
        size = self._micro_batch.within(rows)
        while True:
            try:
                return compute(size)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise torch.OutOfMemoryError(str(error)) from error
            # Outside the except clause: the traceback held the failed attempt's tensors.
            size = (size + 1) // 2
            if remember:
                self._micro_batch.lower(size)
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def memory(self) -> int:
        """Bytes: the most allocated on the GPU since `reset_peak`, or what the process holds now."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated())
        with contextlib.suppress(OSError):  # Linux
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
