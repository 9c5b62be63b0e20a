"""A trial's checkpoints: safetensors whose header holds the rest as JSON, whole or absent."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from luthier.trials.training.compact_embeddings import CompactEmbedding, restore_rows

_OPTIMIZER = "optimizer."
_MODEL = "model."
_ROWS = "vocabulary."  # + a parameter's name: which of its rows are there


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: trainable parameters, and buffers such as batch-norm statistics."""
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return found | dict(model.named_buffers())


def with_rows(model: nn.Module, vocabulary: CompactEmbedding | None) -> dict[str, torch.Tensor]:
    """`trained_tensors`, and which rows of the token embeddings they hold, where not all."""
    tensors = trained_tensors(model)
    return tensors if vocabulary is None else tensors | {_ROWS + vocabulary.name: vocabulary.rows}


def write(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> Path:
    """Write a checkpoint under a temporary name, then give it its own: nobody sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        whole = {name: t.to("cpu").clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
        save_file(whole, temporary, {"luthier": json.dumps(about)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and what was said about them. Raises ValueError when it is no checkpoint, FileNotFoundError."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["luthier"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - it is no dict
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is not a checkpoint of a trial: {error}") from error


@torch.no_grad()
def load_trained(model: nn.Module, tensors: Mapping[str, torch.Tensor], decay: float = 1.0) -> None:
    """Put the trained weights into a pretrained model frozen to the same depth; token embeddings that were left out
    are multiplied by `decay`. Raises ValueError when they do not fit it."""
    wanted, tensors = trained_tensors(model), dict(tensors)
    for key in [key for key in tensors if key.startswith(_ROWS)]:
        name, rows = key.removeprefix(_ROWS), tensors.pop(key)
        if name in wanted and name in tensors and wanted[name].shape != tensors[name].shape:
            restore_rows(wanted[name], tensors[name], rows, decay)
            tensors[name] = wanted[name]
    if wanted.keys() != tensors.keys() or any(wanted[name].shape != tensors[name].shape for name in wanted):
        raise ValueError("the checkpoint's weights are not those this configuration trains")
    for name, tensor in wanted.items():
        tensor.copy_(tensors[name])


def write_resume(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    about: Mapping[str, Any],
) -> Path:
    """Trained weights and the optimizer's state."""
    tensors = {_MODEL + name: tensor for name, tensor in tensors.items()}
    names: dict[torch.Tensor, str] = {p: name for name, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):  # SGD has a momentum of None before its first step
                tensors[f"{_OPTIMIZER}{key}.{names[parameter]}"] = value
    return write(path, tensors, about)


def read_resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Go back to where `write_resume` was called. Raises ValueError, FileNotFoundError."""
    tensors, about = read(path)
    load_trained(model, {n.removeprefix(_MODEL): t for n, t in tensors.items() if n.startswith(_MODEL)})
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            key, _, owner = name.removeprefix(_OPTIMIZER).partition(".")
            optimizer.state[parameters[owner]][key] = tensor.to(parameters[owner].device)
    return about
