"""The layers of a model that adapters fit, and those of them that a configuration names.

`lora` asks for them, and the inspection checks what a space may name. It knows no architecture by name.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from torch import nn
from torch.nn.utils import parametrize
from transformers import Conv1D

from luthier.trials.errors import BadData
from luthier.trials.model.backbone import Backbone

ALL_LINEAR = "all-linear"
ATTENTION = "attention"
SHOWN_PATHS = 20  # in the message about a name that no layer has


@dataclass(frozen=True)
class Site:
    """A layer that an adapter fits.

    Attributes:
        parent: The module that holds it.
        name: Its name in the parent.
        layer: The layer.
        path: Its name in its block, as attention.self.query.
        of_attention: It is a part of a module of attention.
    """

    parent: nn.Module
    name: str
    layer: nn.Module
    path: str
    of_attention: bool

    def is_called(self, target: str) -> bool:
        """Return whether a target means this layer: `attention`, `all-linear`, or a name of it or of what holds it."""
        named = f".{target}." in f".{self.path}."
        return named or target == ALL_LINEAR or (target == ATTENTION and self.of_attention)


def sites(backbone: Backbone, number: int) -> Iterator[Site]:
    """Yield the layers of block `number` (from 1) that an adapter fits."""
    unfrozen = {id(p) for name, p in backbone.model.named_parameters() if name in backbone.unfrozen}
    seen: set[int] = set()
    for site in _modules_of(backbone, number):
        layer = site.layer
        fits = isinstance(layer, nn.Linear | Conv1D) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        trained = any(id(p) in unfrozen for p in layer.parameters())
        if fits and not trained and not parametrize.is_parametrized(layer) and id(layer) not in seen:
            seen.add(id(layer))
            yield site


def _modules_of(backbone: Backbone, number: int) -> Iterator[Site]:
    """Yield block `number` (from 1), which may be a layer itself (VGG), and the modules in it that are called."""
    block = backbone.blocks[number - 1]
    holder, _, own = backbone.names[number - 1].rpartition(".")
    yield Site(backbone.model.get_submodule(holder), own, block, own, False)
    attentions: list[str] = []  # paths of modules of attention; "" for the block itself
    for path, parent in block.named_modules():
        kind: type = type(parent)
        if "attention" in kind.__name__.lower():
            attentions.append(f"{path}." if path else "")
        if _calls_no_layer(kind):
            continue
        for name, layer in parent.named_children():
            whole = f"{path}.{name}" if path else name
            yield Site(parent, name, layer, whole, any(whole.startswith(start) for start in attentions))


def targeted(backbone: Backbone, number: int, targets: str) -> list[Site]:
    """Return the layers of block `number` that a value of `lora_targets` means."""
    return [site for site in sites(backbone, number) if any(site.is_called(target) for target in targets.split(","))]


def check_targets(backbone: Backbone, targets: str, model: str, path: tuple[str | int, ...]) -> None:
    """Check that a value of `lora_targets` means layers of a model.

    Args:
        backbone: The model's blocks.
        targets: The value.
        model: The model's name, for messages.
        path: Of the value in the spec.

    Raises:
        BadData: A name in it is that of no layer; or all layers are meant, and a block has none.
    """
    found = [list(sites(backbone, number)) for number in range(1, len(backbone.blocks) + 1)]
    for name, layers in zip(backbone.names, found, strict=True):
        if targets == ALL_LINEAR and not layers:
            text = f"{name} of the model has no layer that an adapter fits; leave strategy out, or choose full."
            raise BadData(text, "space", "strategy")
    every = [site for layers in found for site in layers]
    for target in targets.split(","):
        if any(site.is_called(target) for site in every):
            continue
        paths = list(dict.fromkeys(site.path for site in every))
        shown = ", ".join(paths[:SHOWN_PATHS]) + (f" and {len(paths) - SHOWN_PATHS} more" * (len(paths) > SHOWN_PATHS))
        problem = f"the blocks of {model} have no layer called {target} that an adapter fits"
        if target == ATTENTION:
            problem = f"the blocks of {model} have no attention with layers that an adapter fits"
        cure = f"name some of {shown}; or choose {ALL_LINEAR}" if paths else "leave strategy out, or choose full"
        raise BadData(f"{problem}: {cure}.", *path)


@cache
def _calls_no_layer(kind: type) -> bool:
    """Return whether a class of attention gives its layers' weights to a torch function, past any adapter (WavLM)."""
    try:
        return "multi_head_attention_forward(" in inspect.getsource(kind)
    except (OSError, TypeError):
        return False
