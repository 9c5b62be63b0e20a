"""Linear layers that hold their own weights in four bits, for `quantization: 4bit`.

As in QLoRA (Dettmers et al. 2023), bitsandbytes rounds each block of 64 weights to sixteen levels (NF4), and computes
with what comes back of them. `lora` puts adapters around such layers. The winner is no rounded model: it has what
comes back, as numbers of 32 bits, with its adapters merged. Without a GPU nothing here is used.
"""

import warnings
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from luthier.trials.errors import Away
from luthier.trials.model.adapter_sites import Site

QUANTIZATION = "quantization"  # the key in the spec, for the paths of errors


def check() -> None:
    """Raise Away where this worker cannot hold weights in four bits."""
    if not _has_gpu():
        text = "4bit needs a GPU, and this worker computes on the CPU: run it on a GPU, or leave it out."
        raise Away(text, QUANTIZATION)
    _bitsandbytes()


def can_be_rounded(model: PreTrainedModel, site: Site) -> bool:
    """Return whether a layer is a plain linear one that its model's authors do not ask to keep precise."""
    precise: Any = getattr(model, "_keep_in_fp32_modules", None) or ()
    return type(site.layer) is nn.Linear and not any(f".{name}." in f".{site.path}." for name in precise)


def rounded(layer: nn.Linear) -> nn.Module:
    """Return a layer with the weights of another one in four bits, on its device. The other one moves to the CPU."""
    bnb = _bitsandbytes()
    device = layer.weight.device
    inputs, outputs, has_bias = layer.in_features, layer.out_features, layer.bias is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        new: nn.Module = bnb.nn.Linear4bit(inputs, outputs, bias=has_bias, quant_type="nf4", device="meta")
        new.weight = bnb.nn.Params4bit(layer.weight.detach(), requires_grad=False, quant_type="nf4").to(device)
    if has_bias:
        new.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    new.training = layer.training
    layer.to("cpu")
    return new


def is_rounded(layer: nn.Module) -> bool:
    """Return whether a layer's weights are held in four bits."""
    return type(layer).__name__ == "Linear4bit"


@torch.no_grad()
def give_back(layer: Any, own: nn.Linear) -> None:
    """Give a layer `own`, on the device of a rounded one, the weights that come back of that."""
    own.to(layer.weight.device)
    own.weight.copy_(_bitsandbytes().functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state))


def _has_gpu() -> bool:
    return torch.cuda.is_available()


def _bitsandbytes() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import bitsandbytes
    except ImportError:
        text = "4bit needs bitsandbytes, which this worker lacks: pip install 'luthier[qlora]'"
        raise Away(text, QUANTIZATION) from None
    return bitsandbytes
