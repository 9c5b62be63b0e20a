"""Low-rank adapters (LoRA) around the layers of a model, for `strategy: lora`.

Layers inside the blocks above the freeze depth get an adapter (E. Hu et al. 2021), made by peft: rank-stabilised
(Kalajdzievski 2023) or weight-decomposed (Liu et al. 2024) where the configuration says so. The backbone's own weights
do not change, and the head is trained whole. Adapters are put around single layers and taken away again, so that the
next trial finds the pretrained model. Inspections, trials and evaluations call it.
"""

import dataclasses
import warnings
from typing import Any

import torch
from torch import nn
from transformers import Conv1D

from luthier.studies.hyperparameters import HYPERPARAMETERS, Params
from luthier.studies.space import Space
from luthier.trials.errors import Away
from luthier.trials.model.adapter_sites import Site, check_targets, targeted
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


def adapt(pretrained: Pretrained, backbone: Backbone, params: Params, seed: int) -> Backbone:
    """Freeze the backbone of a model, and put adapters into the blocks above the freeze depth.

    Args:
        pretrained: The model, which was just reset.
        backbone: Its blocks.
        params: The configuration.
        seed: The adapters' weights are drawn from it.

    Returns:
        The backbone, whose layer indices include the adapters' parameters.

    Raises:
        Away: peft is not installed on this worker.
    """
    depth = int(params["freeze_depth"])
    own = {id(p) for p in pretrained.model.parameters()}
    head = [p for name, p in pretrained.model.named_parameters() if name in backbone.unfrozen]
    blocks = range(depth + 1, backbone.depth + 1)
    sites = [site for number in blocks for site in targeted(backbone, number, str(params[TARGETS]))]
    torch.manual_seed(seed)
    for transposed in (False, True):  # GPT-2's Conv1D is a linear layer whose weight lies the other way round
        alike = [site for site in sites if isinstance(site.layer, Conv1D) == transposed]
        for site, adapted in zip(alike, _wrap(alike, params, transposed), strict=True):
            pretrained.replaced.append((site.parent, site.name, site.layer))
            setattr(site.parent, site.name, adapted)
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


def described(pretrained: Pretrained, params: Params) -> str:
    """Return the adapters that a model has as a line of the trial's log."""
    count = len(pretrained.replaced)
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
        text = "strategy lora needs peft, which is not installed on this worker: pip install 'luthier[lora]'"
        raise Away(text, "space", "strategy") from None
    return peft
