"""A watch on the sum of a trial's losses, which ends a trial that diverges without making the CPU wait for a GPU.

The training loop adds each batch's loss. On a GPU a look at the sum is a copy that is read once it has arrived, some
steps later; on the CPU the number is there at once.
"""

import math

import torch

CHECK_STEPS = 50
"""Optimizer steps between two looks at the loss."""


class LossWatch:
    """The sum of the losses of some steps.

    Args:
        device: The model's.

    Attributes:
        steps: Losses that were added.
    """

    def __init__(self, device: torch.device) -> None:
        self.steps = 0
        self._sum = torch.zeros((), device=device)
        self._copy: torch.Tensor | None = None  # of the sum, on its way to the CPU
        self._arrived: torch.cuda.Event | None = None

    def add(self, loss: torch.Tensor) -> None:
        """Add a batch's mean loss, () on the device."""
        self._sum += loss
        self.steps += 1
        if self.steps % CHECK_STEPS == 0 and self._copy is None:
            self._look()

    def diverged(self) -> bool:
        """Return whether a look has shown that the loss is not finite any more; it never waits."""
        if self._copy is None or (self._arrived is not None and not self._arrived.query()):  # type: ignore[no-untyped-call]
            return False
        value, self._copy = self._copy.item(), None
        return not math.isfinite(value)

    def mean(self) -> float:
        """Return the mean loss; waits for the device."""
        return self._sum.item() / max(1, self.steps)

    def _look(self) -> None:
        if self._sum.device.type != "cuda":
            self._copy = self._sum.clone()
            return
        self._copy = torch.empty((), pin_memory=True).copy_(self._sum, non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record()
