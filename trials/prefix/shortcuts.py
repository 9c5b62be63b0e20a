"""Shortcuts: blocks leave out padding, and the last block leaves out tokens that the head does not use.

The prefix cache searches them once for each model, and the training engine makes them active in each forward.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn

from luthier.trials.prefix.axes import Inputs
from luthier.trials.prefix.context import PrefixContext
from luthier.trials.prefix.first_token import FirstTokenOnly, find_first_token_only
from luthier.trials.prefix.probe import Probe
from luthier.trials.prefix.unpadding import supports_unpadding, unpadded


@dataclass(frozen=True)
class Shortcut:
    """The shortcuts of one trial.

    Attributes:
        first_token: How the last block computes only its first token; None: it computes every token.
        unpadded: Consecutive blocks that run without padding.
    """

    first_token: FirstTokenOnly | None = None
    unpadded: Sequence[nn.Module] = ()

    @contextmanager
    def active(self, inputs: Inputs, lengths: Sequence[int]) -> Iterator[None]:
        """Within this context a forward takes the shortcuts.

        Args:
            inputs: The forward's inputs.
            lengths: Tokens of each example, without padding.
        """
        with (
            unpadded(self.unpadded, inputs, lengths),
            self.first_token.active() if self.first_token is not None else nullcontext(),
        ):
            yield


@dataclass(frozen=True)
class ModelShortcuts:
    """The shortcuts that a model allows, at any freeze depth."""

    first_token: FirstTokenOnly | None
    can_unpad: bool

    @classmethod
    def find(cls, context: PrefixContext, probe: Probe) -> "ModelShortcuts":
        """Try both shortcuts on a probe. The model gets the attention function that they need."""
        backbone, exact = context.backbone, context.exact
        return cls(find_first_token_only(backbone, exact, probe), supports_unpadding(backbone, exact, probe))

    def above(self, blocks: Sequence[nn.Module]) -> Shortcut:
        """Return the shortcuts of a trial that computes `blocks`, the model's topmost ones."""
        if not self.can_unpad:
            return Shortcut(self.first_token)
        return Shortcut(self.first_token, blocks if self.first_token is None else blocks[:-1])
