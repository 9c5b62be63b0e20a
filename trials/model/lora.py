"""Low-rank adapters (LoRA) around the layers of a model, for `strategy: lora`.

Every linear layer and plain convolution inside the blocks above the freeze depth gets an adapter of rank 8 (E. Hu et
al. 2021), made by peft; the backbone's own weights do not change, and the head is trained whole. Adapters are put
around single layers and taken away again, so that the next trial finds the pretrained model. Inspections, trials and
evaluations call it.
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
from transformers import Conv1D

from luthier.studies.hyperparameters import Params
from luthier.trials.errors import Away, BadData
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained

RANK = 8
ALPHA = 16  # an adapter's output is multiplied by ALPHA / RANK

LayerSite = tuple[nn.Module, str, nn.Module]  # (parent, name of the layer in it, layer)


def check(backbone: Backbone) -> None:
    """Check that a model can get adapters.

    Raises:
        BadData: peft is not installed, or a block has no layer that an adapter fits.
    """
    _peft()
    for number, name in enumerate(backbone.names, 1):
        if next(_sites(backbone, number), None) is None:
            text = f"{name} of the model has no layer that an adapter fits; leave strategy out, or choose full."
            raise BadData(text, "space", "strategy")


def adapt(pretrained: Pretrained, backbone: Backbone, params: Params, seed: int) -> Backbone:
    """Freeze the backbone of a model, and put adapters into the blocks above the freeze depth.

    Args:
        pretrained: The model, which was just reset.
        backbone: Its blocks.
        params: The configuration; its freeze_depth and dropout are used.
        seed: The adapters' weights are drawn from it.

    Returns:
        The backbone, whose layer indices include the adapters' parameters.

    Raises:
        Away: peft is not installed on this worker.
    """
    depth = int(params["freeze_depth"])
    dropout = max(0.0, float(params["dropout"]))
    own = {id(p) for p in pretrained.model.parameters()}
    head = [p for name, p in pretrained.model.named_parameters() if name in backbone.unfrozen]
    sites = [site for number in range(depth + 1, len(backbone.blocks) + 1) for site in _sites(backbone, number)]
    torch.manual_seed(seed)
    for transposed in (False, True):  # GPT-2's Conv1D is a linear layer whose weight lies the other way round
        alike = [site for site in sites if isinstance(site[2], Conv1D) == transposed]
        for (parent, name, layer), adapted in zip(alike, _wrap(alike, dropout, transposed), strict=True):
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
    """Merge the adapters into the weights that they adapt, and take them away.

    The model then has its own layers only, and computes the same. Its weights stay changed until it is reset.
    """
    for parent, name, _ in pretrained.replaced:
        layer: Any = getattr(parent, name)
        layer.merge()
    pretrained.put_back()


def _sites(backbone: Backbone, number: int) -> Iterator[LayerSite]:
    """Yield the layers of block `number` (from 1) that an adapter fits."""
    unfrozen = {id(p) for name, p in backbone.model.named_parameters() if name in backbone.unfrozen}
    seen: set[int] = set()
    for parent in backbone.blocks[number - 1].modules():
        kind: type = type(parent)
        if _calls_no_layer(kind):
            continue
        for name, layer in parent.named_children():
            fits = isinstance(layer, nn.Linear | Conv1D) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
            trained = any(id(p) in unfrozen for p in layer.parameters())
            if fits and not trained and not parametrize.is_parametrized(layer) and id(layer) not in seen:
                seen.add(id(layer))
                yield parent, name, layer


@cache
def _calls_no_layer(kind: type) -> bool:
    """Return whether a class of attention gives its layers' weights to a torch function, past any adapter (WavLM)."""
    try:
        return "multi_head_attention_forward(" in inspect.getsource(kind)
    except (OSError, TypeError):
        return False


def _wrap(sites: list[LayerSite], dropout: float, transposed: bool) -> list[nn.Module]:
    """Return each layer with an adapter around it.

    Args:
        sites: The layers.
        dropout: Probability of the adapters' dropout.
        transposed: True if the layers' weights are (inputs, outputs), as Conv1D's are.
    """
    if not sites:
        return []
    peft = _peft()
    # In a module of their own: peft changes the module that it is given, and reads a model's config.
    holder = nn.ModuleDict({str(i): layer for i, (_, _, layer) in enumerate(sites)})
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
        raise Away(text, "space", "strategy") from None
    return peft
