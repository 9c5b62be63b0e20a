"""Pooling: how a sequence classifier makes one vector of its tokens' vectors, where the model's class has a choice.

`OpenStudy` sets it before a trial. The choice is an entry of the model's own configuration, so that the packed winner
pools alike wherever it is loaded. Known are classes whose mean passes over padding, which XLNet's does not.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

ATTRIBUTE = "classifier_pooling"
"""Of the configuration: ModernBERT and its descendants."""
WORDS = (("first", "cls"), ("first", "bos"), ("mean", "mean"))
"""A pooling, and the words for it in configurations."""


@dataclass(frozen=True)
class Pooling:
    """The poolings that a model's class allows.

    Attributes:
        words: Pooling -> the word for it in the model's configuration.
        own: The one of the checkpoint.
    """

    words: Mapping[str, str]
    own: str

    @classmethod
    def find(cls, model: PreTrainedModel) -> "Pooling | None":
        """Return a model's poolings; None where its class has no choice."""
        word = getattr(model.config, ATTRIBUTE, None)
        if word is None:
            return None
        source = inspect.getsource(type(model))
        words = {pooling: word for pooling, word in WORDS if f'"{word}"' in source and ATTRIBUTE in source}
        own = next((pooling for pooling, known in words.items() if known == word), None)
        return None if own is None or len(words) < 2 else cls(words, own)

    def set(self, model: PreTrainedModel, pooling: str) -> None:
        """Let a model pool in a way.

        Args:
            model: The model; its configuration is changed.
            pooling: A key of `words`.
        """
        holders: tuple[object, ...] = (model.config, *_holders(model))
        for holder in holders:
            setattr(holder, ATTRIBUTE, self.words[pooling])


def _holders(model: nn.Module) -> list[nn.Module]:
    """Return the modules that keep the entry as an attribute of their own."""
    return [module for module in model.modules() if ATTRIBUTE in vars(module)]
