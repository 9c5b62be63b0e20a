"""Gradual unfreezing (Howard and Ruder 2018, ULMFiT, section 3.3), for `strategy: gradual`.

A trial begins with the head alone; then one block more is trained at a time, from the top down to the freeze depth.
What is trained is a function of the optimizer step, so that a trial that continues goes on as it was. Between the steps
the model is frozen to its freeze depth only: checkpoints hold all that the trial trains at some time, and a parameter
gets a state of the optimizer with its first gradient.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from luthier.studies.hyperparameters import Params
from luthier.trials.model.backbone import Backbone

GRADUAL = "gradual"


class Unfreezing:
    """What a trial trains at each of its steps.

    Args:
        backbone: The model's, frozen to the configuration's depth.
        params: The configuration. Unless its strategy is gradual, what is trained stays the same.
        steps_per_epoch: Optimizer steps in an epoch.
    """

    def __init__(self, backbone: Backbone, params: Params, steps_per_epoch: int) -> None:
        self._backbone = backbone
        self._last_depth = self._depth = int(params["freeze_depth"])
        self._first_depth = backbone.depth if params["strategy"] == GRADUAL else self._last_depth
        self._reached = self._first_depth
        self._stages = self._first_depth - self._last_depth + 1
        self._steps_per_epoch = steps_per_epoch
        self._steps = int(params["epochs"]) * steps_per_epoch

    def frozen_blocks(self, step: int) -> int:
        """Return how many blocks are frozen at an optimizer step, counted from 0.

        A stage lasts an epoch; where the trial has fewer epochs than stages, it is an equal share of the trial.
        """
        stage = max(step // self._steps_per_epoch, step * self._stages // self._steps)
        return max(self._last_depth, self._first_depth - stage)

    @property
    def is_done(self) -> bool:
        """Whether the last step trained all that the trial ever trains, so that it needs no more memory later."""
        return self._reached == self._last_depth

    @contextmanager
    def training(self) -> Iterator[None]:
        """Set training mode for the parts that train; within this context call `before` each step."""
        self._backbone.train_mode()
        try:
            yield
        finally:
            self._freeze(self._last_depth)

    def before(self, step: int) -> None:
        """Freeze the model as the step needs it, and set the mode of its parts."""
        self._reached = self.frozen_blocks(step)
        if self._freeze(self._reached):
            self._backbone.train_mode()

    def _freeze(self, depth: int) -> bool:
        """Freeze the model to a depth; return False where it was so."""
        if depth == self._depth:
            return False
        self._backbone.freeze(depth)
        self._depth = depth
        return True
