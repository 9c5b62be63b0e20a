"""The weights of a loaded model: whether the file had all that the model needs, and whether they are numbers.

`pretrained.load` calls it for every model that is loaded. Only a head and a pooler may be missing: they are drawn at
random and trained. It reads no file: transformers reports what it found, and the tensors are in memory.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from luthier.trials.errors import BadData

SHOWN = 3
"""Names of weights in a sentence."""
MASKS = ("masked_spec_embed", "mask_token")  # stand for what is hidden in pretraining; many checkpoints leave them out
WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "0.auto_model.", "base_model.model.", "model.", "net.")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def check_complete(model: PreTrainedModel, info: Mapping[str, Any], head: frozenset[str], name: str) -> frozenset[str]:
    """Check that a checkpoint held all weights of a model but its head and its pooler.

    Args:
        model: The loaded model.
        info: The report of transformers: missing_keys, unexpected_keys and mismatched_keys, which are a name, or a
            name with the shapes in file and model.
        head: Names of the parameters outside of the backbone.
        name: The model's name, for messages.

    Returns:
        Names of the parameters that the checkpoint did not hold in the model's shape.

    Raises:
        BadData: A weight of the backbone is missing or has another shape, or the file has blocks that the model lacks.
    """
    shapes = {key[0]: key[1:] for key in info["mismatched_keys"] if not isinstance(key, str)}
    mismatched = set(shapes) | {key for key in info["mismatched_keys"] if isinstance(key, str)}
    missing = set(info["missing_keys"])
    parameters = {key for key, _ in model.named_parameters()}
    kind = type(model).__name__
    strange = sorted(info["unexpected_keys"])
    hint = f" The file has others, such as {strange[0]}: if names were changed, change them back." if strange else ""
    if wrapper := _wrapper(strange):
        hint = f" All names in the file begin with {wrapper}, so a wrapper was saved: save the model inside it."
    needed = sorted(key for key in missing if _is_needed(key, parameters, head))
    if parameters - head and missing | mismatched >= parameters - head:
        raise BadData(f"{name}: its weights fit no layer of {kind}; save the model anew.{hint}", "model")
    if needed:
        text = (
            f"{name} lacks {len(needed)} weights of {kind} outside of its head, which would be drawn at random: "
            f"{listed(needed)}. Fetch or save the model again, or correct config.json if it has fewer layers."
        )
        raise BadData(text + hint, "model")
    wrong = sorted(key for key in mismatched if _is_needed(key, parameters, head))
    if wrong:
        found = [" instead of ".join(str(list(shape)) for shape in shapes.get(key, ())) for key in wrong]
        told = [f"{key} ({shape})" if shape else key for key, shape in zip(wrong, found, strict=True)]
        text = (
            f"{name}: {len(wrong)} of its weights have another shape than its config.json says: {listed(told)}. "
            "Correct config.json, or save the model anew."
        )
        raise BadData(text, "model")
    _check_blocks(model, head, strange, name)
    return frozenset(missing | mismatched)


def _wrapper(strange: list[str]) -> str | None:
    """Return what all names begin with where a wrapper was saved: DataParallel, torch.compile, Lightning and so on."""
    prefix = next((prefix for prefix in WRAPPERS if strange and strange[0].startswith(prefix)), None)
    return prefix if prefix and all(key.startswith(prefix) for key in strange) else None


def _is_needed(key: str, parameters: Collection[str], head: Collection[str]) -> bool:
    """Return whether the pretrained model computes something else without this weight."""
    if key in head or "pooler" in key or key.endswith(MASKS):
        return False
    owner, _, own = key.rpartition(".")
    measured = own in ("running_mean", "running_var")  # other buffers are computed
    return key in parameters or (measured and f"{owner}.weight" not in head)


def _check_blocks(model: PreTrainedModel, head: frozenset[str], strange: list[str], name: str) -> None:
    """Raise BadData where the file has weights for more blocks than the model has: config.json says fewer.

    Args:
        model: The loaded model.
        head: Names of the parameters outside of the backbone.
        strange: Names in the file that the model has no place for.
        name: The model's name, for messages.
    """
    prefix = f"{model.base_model_prefix}."
    stacked = (key for key, _ in model.named_parameters() if _NUMBER.search(key) and key not in head)
    forms = {_NUMBER.sub("N", key.removeprefix(prefix)) for key in stacked}
    further = [key for key in strange if _NUMBER.sub("N", key.removeprefix(prefix)) in forms]
    if further:
        text = (
            f"{name} holds weights of more layers than its config.json has, which would be left out: "
            f"{listed(further)}. Correct the number of layers in config.json, or load the shortened model and save "
            "it with save_pretrained."
        )
        raise BadData(text, "model")


def check_finite(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Check that weights are finite numbers.

    A sum tells it in one pass over the memory: it is finite only if every term is. Where it is not, because the terms
    are huge, each one is looked at.

    Args:
        model: The model that the weights belong to.
        tensors: Parameters and buffers by name that the checkpoint held, on any device.
        name: The model's name, for messages.

    Raises:
        BadData: A weight is NaN or infinite.
    """
    saved = model.state_dict().keys()
    wrong = [
        key
        for key, tensor in tensors.items()
        if key in saved
        and tensor.is_floating_point()
        and "mask" not in key  # some masks are infinite on purpose
        and not math.isfinite(tensor.sum().item())
        and not bool(tensor.isfinite().all())
    ]
    if not wrong:
        parameters = {key for key, _ in model.named_parameters()}
        _check_not_zero({key: tensor for key, tensor in tensors.items() if key in parameters}, name)
    if wrong:
        text = (
            f"{name}: {len(wrong)} of its weights hold NaN or infinite numbers: {listed(wrong)}. Its training must "
            "have diverged, or the file is damaged; take an earlier checkpoint, or fetch it again."
        )
        raise BadData(text, "model")


def _check_not_zero(tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Raise BadData where half of the matrices or more hold zeros only: a file whose pieces were never gathered."""
    matrices = {key: tensor for key, tensor in tensors.items() if tensor.dim() > 1}
    zero = [key for key, tensor in matrices.items() if not bool(tensor[:1].any()) and not bool(tensor.any())]
    if zero and 2 * len(zero) >= len(matrices):
        text = f"{name}: {len(zero)} of its {len(matrices)} matrices hold zeros only: {listed(zero)}. Fetch it again, "
        raise BadData(text + "or save it anew (with FSDP or DeepSpeed: its weights gathered).", "model")


def listed(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
