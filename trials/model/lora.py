"""Low-rank adapters (LoRA, Hu et al. 2021) instead of weights: `strategy: lora`.

Every linear layer and plain convolution inside the blocks above the freeze depth gets an adapter of rank 8, made by
peft; the backbone's own weights stay as they are, and the head is trained whole. Adapters are put around single layers
and taken away again, so that a model which stays warm is the pretrained one for the next trial.
"""

import dataclasses
import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from luthier.studies.hyperparameters import Params
from luthier.trials.errors import BadData
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained

RANK = 8
ALPHA = 16  # adapters count with ALPHA / RANK

LayerSite = tuple[nn.Module, str, nn.Module]  # a layer, its parent, and its name there: (parent, name, layer)


def check(backbone: Backbone) -> None:
    """Raise BadData when peft is missing here, or a block has no layer that could be adapted."""
    _peft()
    for number, name in enumerate(backbone.names, 1):
        if next(_places(backbone, number), None) is None:
            text = f"{name} of the model has no layer that an adapter fits; leave strategy out, or choose full."
            raise BadData(text, "space", "strategy")


def adapt(pretrained: Pretrained, backbone: Backbone, params: Params, seed: int) -> Backbone:
    """Freeze the backbone of a model that was just reset, put adapters drawn from `seed` into the blocks above the
    freeze depth, and return the backbone with their layers. Raises BadData where peft is not installed."""
    depth, dropout = int(params["freeze_depth"]), max(0.0, float(params["dropout"]))
    own = {id(p) for p in pretrained.model.parameters()}
    head = [p for name, p in pretrained.model.named_parameters() if name in backbone.unfrozen]
    places = [place for number in range(depth + 1, backbone.depth + 1) for place in _places(backbone, number)]
    torch.manual_seed(seed)
    for transposed in (False, True):  # GPT-2's Conv1D is a linear layer whose weight lies the other way round
        kind = [place for place in places if isinstance(place[2], Conv1D) == transposed]
        for (parent, name, layer), adapted in zip(kind, _wrapped(kind, dropout, transposed), strict=True):
            pretrained.replaced.append((parent, name, layer))
            setattr(parent, name, adapted)
    for parameter in pretrained.model.parameters():
        parameter.requires_grad_(id(parameter) not in own)
    for parameter in head:
        parameter.requires_grad_(True)
    inside = {
        f"{name}.{key}": number
        for number, (name, block) in enumerate(zip(backbone.names, backbone.blocks, strict=True), 1)
        for key, _ in block.named_parameters()
    }
    return dataclasses.replace(backbone, layers=backbone.layers | inside)


def merge(pretrained: Pretrained) -> None:
    """Add what the adapters learned to the weights they adapt, and take them away: a plain model, which computes the
    same. Changes the model's own weights, until it is reset."""
    for parent, name, _ in pretrained.replaced:
        layer: Any = getattr(parent, name)
        layer.merge()
    pretrained.put_back()


def _places(backbone: Backbone, number: int) -> Iterator[LayerSite]:
    """The layers of block `number` (from 1) that can be adapted."""
    whole = {id(p) for name, p in backbone.model.named_parameters() if name in backbone.unfrozen}
    seen: set[int] = set()
    for parent in backbone.blocks[number - 1].modules():
        if _calls_no_layer(type(parent)):
            continue
        for name, layer in parent.named_children():
            fits = isinstance(layer, nn.Linear | Conv1D) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
            trained = any(id(p) in whole for p in layer.parameters())
            if fits and not trained and not parametrize.is_parametrized(layer) and id(layer) not in seen:
                seen.add(id(layer))
                yield parent, name, layer


@cache
def _calls_no_layer(kind: type[nn.Module]) -> bool:
    """Whether a kind of attention hands its layers' weights to torch's function, past any adapter (WavLM)."""
    try:
        return "multi_head_attention_forward(" in inspect.getsource(kind)
    except (OSError, TypeError):
        return False


def _wrapped(places: list[LayerSite], dropout: float, transposed: bool) -> list[nn.Module]:
    """The layers with adapters around them."""
    if not places:
        return []
    peft = _peft()
    # In a module of their own: peft leaves traces on what it is given, and looks at a model's config.
    holder = nn.ModuleDict({str(i): layer for i, (_, _, layer) in enumerate(places)})
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=r"\d+", fan_in_fan_out=transposed
    )
    peft.inject_adapter_in_model(config, holder)
    return list(holder.values())


def _peft() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import peft
    except ImportError:
        text = "strategy lora needs peft, which is not installed on this worker: pip install 'luthier[lora]'"
        raise BadData(text, "space", "strategy") from None
    return peft
