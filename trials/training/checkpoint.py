"""A trial's checkpoint files: tensors as safetensors, and the rest as JSON in the header.

`CheckpointWriter` writes them; training and the winner's evaluation read them. A file is complete or absent.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from luthier.studies.files import atomic_path
from luthier.trials.training.compact_embeddings import CompactEmbedding, restore_rows

_HEADER_KEY = "luthier"
# Prefixes of tensor names, before a parameter's name. They stand in stored files.
_OPTIMIZER = "optimizer."  # after it also the name of the optimizer's state, as in optimizer.exp_avg.NAME
_MODEL = "model."  # in a file for a resume
_ROWS = "vocabulary."  # token ids of the embedding's rows that the file holds


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that training may change, by name: trainable parameters and all buffers."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return parameters | dict(model.named_buffers())


def tensors_to_write(model: nn.Module, embedding: CompactEmbedding | None) -> dict[str, torch.Tensor]:
    """Return `trained_tensors`, and the token ids of the embedding's rows where the model has only some of them."""
    tensors = trained_tensors(model)
    return tensors if embedding is None else tensors | {_ROWS + embedding.name: embedding.rows}


def write(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> Path:
    """Write a checkpoint and return its path; no reader ever sees an incomplete file.

    Args:
        path: In a folder that exists.
        tensors: By name, on any device.
        about: A JSON value.

    Raises:
        OSError: The file cannot be written.
    """
    contiguous = {name: t.to("cpu").clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, {_HEADER_KEY: json.dumps(about)})
    return path


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return a checkpoint's tensors, by name and on the CPU, and its JSON.

    Raises:
        ValueError: The file is no checkpoint.
        FileNotFoundError: The file is not there.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[_HEADER_KEY])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - it is no dict
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is not a checkpoint of a trial: {error}") from error


@torch.no_grad()
def load_trained(model: nn.Module, tensors: Mapping[str, torch.Tensor], decay: float = 1.0) -> None:
    """Put trained weights into a pretrained model that is frozen to the same depth; after an error it is as it was.

    Args:
        model: With all of its token embeddings, or with the same rows of them as the file.
        tensors: As `tensors_to_write` gave them.
        decay: Factor on the token embeddings that the file leaves out.

    Raises:
        ValueError: The tensors are not those that this model trains.
    """
    own = trained_tensors(model)
    tensors = dict(tensors)
    rows = {key.removeprefix(_ROWS): tensors.pop(key) for key in list(tensors) if key.startswith(_ROWS)}
    if own.keys() != tensors.keys() or not all(_fits(own[n], t, rows.get(n)) for n, t in tensors.items()):
        raise ValueError("the checkpoint's weights are not those this configuration trains")
    for name, tensor in own.items():
        if tensor.shape == tensors[name].shape:
            tensor.copy_(tensors[name])
        else:
            restore_rows(tensor, tensors[name], rows[name], decay)


def _fits(own: torch.Tensor, stored: torch.Tensor, rows: torch.Tensor | None) -> bool:
    """Return whether a file's tensor can take the place of a model's, or of those of its rows that the file holds."""
    if own.shape == stored.shape:
        return True
    if rows is None or rows.dtype != torch.int64 or stored.shape != (len(rows), *own.shape[1:]) or not len(rows):
        return False
    return int(rows.min()) >= 0 and int(rows.max()) < len(own)


def write_resume(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    about: Mapping[str, Any],
) -> Path:
    """Write trained weights and the optimizer's state, and return the file's path.

    Args:
        path: In a folder that exists.
        tensors: As `tensors_to_write` gave them.
        model: Whose parameters the optimizer changes.
        optimizer: After its first step.
        about: A JSON value.

    Raises:
        OSError: The file cannot be written.
    """
    named = {_MODEL + name: tensor for name, tensor in tensors.items()}
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):  # SGD has a momentum of None before its first step
                named[f"{_OPTIMIZER}{key}.{names[parameter]}"] = value
    return write(path, named, about)


def read_resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Load what `write_resume` wrote into the model and its optimizer, and return the file's JSON.

    After an error both are as they were.

    Raises:
        ValueError: The file is no checkpoint, or one of another configuration.
        FileNotFoundError: The file is not there.
    """
    tensors, about = read(path)
    if not {"step", "best_step", "best_value"} <= about.keys():
        raise ValueError(f"{path.name} does not say where the trial was")
    parameters = dict(model.named_parameters())
    states = [(*n.removeprefix(_OPTIMIZER).partition("."), t) for n, t in tensors.items() if n.startswith(_OPTIMIZER)]
    if any(owner not in parameters for _, _, owner, _ in states):
        raise ValueError("the checkpoint's optimizer is not the one of this configuration")
    load_trained(model, {n.removeprefix(_MODEL): t for n, t in tensors.items() if n.startswith(_MODEL)})
    for key, _, owner, tensor in states:
        optimizer.state[parameters[owner]][key] = _arranged(tensor, parameters[owner])
    return about


def _arranged(state: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return a state on its parameter's device and as that lies in memory: fused steps take both as rows of numbers."""
    if state.shape != parameter.shape:
        return state.to(parameter.device)
    return torch.empty_like(parameter, dtype=state.dtype).copy_(state)
