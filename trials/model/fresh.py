"""A model's fresh parameters, drawn as its authors do, and its dropout probabilities.

`pretrained` calls it. Drawing rests on two names that transformers does not promise to keep; a test names each one.
"""

import re
from collections.abc import Iterable, Iterator

from torch import nn
from transformers import PreTrainedModel

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_DROPOUT_ATTRIBUTE = re.compile(r"(.*_)?dropout(_p|_prob|_rate)?|(attn|resid|embd|hidden)_?p?drop")


def draw_fresh(model: PreTrainedModel, fresh: Iterable[str]) -> None:
    """Draw the fresh parameters as the model's authors do, from torch's generator, and change no others.

    Args:
        model: The model.
        fresh: Names of the parameters.
    """
    names = set(fresh)
    for name, parameter in model.named_parameters():
        parameter._is_hf_initialized = name not in names  # type: ignore[attr-defined]
    owners = dict.fromkeys(name.rpartition(".")[0] for name in sorted(names))
    for owner in owners:
        model._init_weights(model.get_submodule(owner))  # type: ignore[no-untyped-call]


def dropout_probabilities(model: nn.Module) -> Iterator[tuple[nn.Module, str, float]]:
    """Yield every dropout probability of a model as (module, attribute, probability).

    They are those of dropout layers, and numbers such as `attention_dropout` that a forward uses.
    """
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            yield module, "p", module.p
            continue
        for attribute, value in vars(module).items():
            if isinstance(value, float) and _DROPOUT_ATTRIBUTE.fullmatch(attribute):
                yield module, attribute, value
