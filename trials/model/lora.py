"""Low-rank adapters (LoRA) around the layers of a model, for `strategy: lora`.

Layers inside the blocks above the freeze depth get an adapter (E. Hu et al. 2021), made by peft: rank-stabilised
(Kalajdzievski 2023) or weight-decomposed (Liu et al. 2024) where the configuration says so. The backbone's own weights
do not change, and the head is trained whole. Adapters are put around single layers and taken away again, so that the
next trial finds the pretrained model. Inspections, trials and evaluations call it.
"""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn
from transformers import Conv1D

from luthier.studies.hyperparameters import HYPERPARAMETERS, Params
from luthier.studies.space import Space
from luthier.trials.errors import Away, BadData
from luthier.trials.model import four_bits as quantization
from luthier.trials.model.adapter_sites import Site, check_targets, targeted
from luthier.trials.model.adapter_sites import sites as sites_of
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained

TARGETS = "lora_targets"


def check(backbone: Backbone, space: Space, model: str) -> None:
    """Check that a model can get the adapters of a space.

    Args:
        backbone: The model's blocks.
        space: It offers adapters.
        model: The model's name, for messages.

    Raises:
        BadData: peft is not installed, or the model lacks layers that `lora_targets` names.
    """
    _peft()
    d = space.root.get(TARGETS, HYPERPARAMETERS[TARGETS].default)
    several = isinstance(d, tuple)
    for i, targets in enumerate(d if isinstance(d, tuple) else (d,)):
        check_targets(backbone, str(targets), model, ("space", TARGETS, i) if several else ("space", TARGETS))


def adapt(
    pretrained: Pretrained, backbone: Backbone, params: Params, seed: int, *, four_bits: bool = False
) -> Backbone:
    """Freeze the backbone of a model, and put adapters into the blocks above the freeze depth.

    Args:
        pretrained: The model, which was just reset.
        backbone: Its blocks.
        params: The configuration.
        seed: The adapters' weights are drawn from it.
        four_bits: The linear layers above the freeze depth hold their own weights in four bits.

    Returns:
        The backbone, whose layer indices include the adapters' parameters.

    Raises:
        Away: peft is not installed on this worker, or it cannot hold weights in four bits.
    """
    depth = int(params["freeze_depth"])
    blocks = range(depth + 1, len(backbone.blocks) + 1)
    if four_bits:
        _round(pretrained, backbone, blocks)
    own = {id(p) for p in pretrained.model.parameters()}
    head = [p for name, p in pretrained.model.named_parameters() if name in backbone.unfrozen]
    sites = [site for number in blocks for site in targeted(backbone, number, str(params[TARGETS]))]
    torch.manual_seed(seed)
    for transposed in (False, True):  # GPT-2's Conv1D is a linear layer whose weight lies the other way round
        alike = [site for site in sites if isinstance(site.layer, Conv1D) == transposed]
        for site, adapted in zip(alike, _wrap(alike, params, transposed), strict=True):
            if not quantization.is_rounded(site.layer):  # else its own layer is there already
                pretrained.replaced.append((site.parent, site.name, site.layer))
            setattr(site.parent, site.name, adapted)
    for parameter in pretrained.model.parameters():
        parameter.requires_grad_(id(parameter) not in own)
    for parameter in head:
        parameter.requires_grad_(True)
    adapted_blocks = [pretrained.model.get_submodule(name) for name in backbone.names]  # one may be a layer itself
    inside = {
        f"{name}.{key}": number
        for number, (name, block) in enumerate(zip(backbone.names, adapted_blocks, strict=True), 1)
        for key, _ in block.named_parameters()
    }
    return dataclasses.replace(backbone, blocks=adapted_blocks, layers=backbone.layers | inside)


def merge(pretrained: Pretrained) -> None:
    """Merge the adapters into the weights that they adapt, and take them away.

    Of weights in four bits those count that come back of them. The model then has its own layers only, and computes the
    same. Its weights stay changed until it is reset.
    """
    for parent, name, own in pretrained.replaced:
        layer: Any = getattr(parent, name)
        base = layer.base_layer if _is_adapted(layer) else layer
        if quantization.is_rounded(base):
            quantization.give_back(base, cast(nn.Linear, own))
        if _is_adapted(layer):
            layer.base_layer = own
            layer.merge()
    pretrained.put_back()


def check_rounding(backbone: Backbone, model: str) -> None:
    """Check that weights of a model can be held in four bits on this worker.

    Raises:
        BadData: It has no linear layer, or this worker cannot.
    """
    quantization.check()
    every = (site for number in range(1, len(backbone.blocks) + 1) for site in sites_of(backbone, number))
    if not any(quantization.can_be_rounded(backbone.model, site) for site in every):
        text = f"the blocks of {model} have no linear layer, so quantization changes nothing; leave it out."
        raise BadData(text, quantization.QUANTIZATION)


def _round(pretrained: Pretrained, backbone: Backbone, blocks: Iterable[int]) -> None:
    """Replace the linear layers of some blocks by layers that hold the same weights in four bits."""
    quantization.check()
    for site in [site for number in blocks for site in sites_of(backbone, number)]:
        if quantization.can_be_rounded(backbone.model, site):
            pretrained.replaced.append((site.parent, site.name, site.layer))
            setattr(site.parent, site.name, quantization.rounded(cast(nn.Linear, site.layer)))


def _is_adapted(layer: nn.Module) -> bool:
    return hasattr(layer, "base_layer")


def described(pretrained: Pretrained, params: Params) -> str:
    """Return the adapters that a model has as a line of the trial's log."""
    layers = [getattr(parent, name) for parent, name, _ in pretrained.replaced]
    count = sum(map(_is_adapted, layers))
    if not count:
        return (
            f"adapters: lora_targets ({params[TARGETS]}) names no layer above the freeze depth; the head trains alone"
        )
    trained = sum(p.numel() for p in pretrained.model.parameters() if p.requires_grad)
    kind = f"{params['lora_variant']} of rank {params['lora_rank']} and alpha {params['lora_alpha']:g}"
    return (
        f"adapters: {kind} around {count} layers ({params[TARGETS]}); {trained:,} parameters train, the head included"
    )


def _wrap(sites: list[Site], params: Params, transposed: bool) -> list[nn.Module]:
    """Return each layer with an adapter around it.

    Args:
        sites: The layers.
        params: The configuration.
        transposed: True if the layers' weights are (inputs, outputs), as Conv1D's are.
    """
    if not sites:
        return []
    peft = _peft()
    # In a module of their own: peft changes the module that it is given, and reads a model's config.
    holder = nn.ModuleDict({str(i): site.layer for i, site in enumerate(sites)})
    own_dropout = float(params["lora_dropout"])
    config = peft.LoraConfig(
        r=int(params["lora_rank"]),
        lora_alpha=float(params["lora_alpha"]),
        lora_dropout=own_dropout if own_dropout >= 0 else max(0.0, float(params["dropout"])),
        use_rslora=params["lora_variant"] == "rslora",
        use_dora=params["lora_variant"] == "dora",
        target_modules=r"\d+",
        fan_in_fan_out=transposed,
    )
    peft.inject_adapter_in_model(config, holder)
    return list(holder.values())


def _peft() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import peft
    except ImportError:
        text = "lora needs peft, which is not installed on this worker: pip install 'luthier[lora]'"
        raise Away(text, "space", "strategy") from None
    return peft
