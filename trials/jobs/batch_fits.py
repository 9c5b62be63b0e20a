"""Which batch sizes of a space fit in memory: measured on two small batches, and drawn out to the large ones.

What a step holds grows linearly with its examples: a fixed part (weights, gradients, the optimizer's states) and a
part for each example (what the backward pass needs of the forward pass). Measured is the costliest configuration: the
longest examples, the fewest frozen blocks.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.studies.dimensions import Range
from luthier.studies.host import CGROUP, memory_limit, memory_usage
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Assignment
from luthier.studies.results import BatchFit
from luthier.studies.space import Space
from luthier.trials.errors import BadData
from luthier.trials.training import optim
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache, OpenStudy
from luthier.trials.training.seeding import seed_everything
from luthier.trials.training.setup import prepare

PROBES = (1, 4)  # examples
USABLE = 0.95  # of a GPU's memory
CPU_TRANSIENT = 1.4  # a process's real growth over what is saved for the backward pass: 1.1 (BERT) to 1.4 (ResNet)
STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers an optimizer keeps for each trained one


@dataclass(frozen=True)
class MemoryModel:
    """Bytes that a step holds, and those of the weights among them."""

    fixed: float
    per_example: float
    weights: int

    def bytes(self, examples: int) -> int:
        return int(self.fixed + self.per_example * examples)


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that a trial may hold now, and those it could hold if nothing else ran."""

    now: float
    ever: float


def batch_fits(
    assignment: Assignment, opened: OpenStudy, warm: ModelCache, space: Space, params: Params
) -> list[BatchFit]:
    """Each batch size of the resolved space. Raises BadData when not even one example fits."""
    costliest = dict(params)
    for name, pick in (("max_length", space.largest), ("freeze_depth", space.least)):
        if name in space:
            costliest[name] = pick(name)
    models = assignment.spec.models
    path = ("model", models.index(str(params["model"]))) if len(models) > 1 else ("model",)
    on_gpu = next(opened.pretrained.model.parameters()).device.type == "cuda"
    gpus = assignment.spec.resources.gpus or 1.0
    where = ("this worker's GPU" if gpus == 1 else f"{gpus:g} of this worker's GPU") if on_gpu else "this worker"
    cure = "choose a smaller model or max_length, freeze more blocks, or use a larger machine."
    try:
        need = measure(opened, warm, space.assigned(costliest), assignment)
    except torch.OutOfMemoryError:
        raise BadData(f"Not even one training example fits in the memory of {where}: {cure}", *path) from None
    room = _gpu_room(gpus) if on_gpu else _cpu_room(need.weights)
    if need.bytes(1) > room.ever:
        text = f"Training on one example at a time takes about {_gb(need.bytes(1))}, and {where} has {_gb(room.ever)}"
        raise BadData(f"{text}: {cure}", *path)
    return [_fit(size, need, room) for size in batch_sizes(space, params)]


def batch_sizes(space: Space, params: Params) -> list[int]:
    """Every choice; of a range both ends and the powers of two between."""
    d: Any = space["batch_size"] if "batch_size" in space else params["batch_size"]
    if isinstance(d, Range):
        low, high = int(d.low), int(d.high)
        return sorted({low, high, *(2**i for i in range(low.bit_length(), high.bit_length()) if low < 2**i < high)})
    return sorted(map(int, d)) if isinstance(d, tuple) else [int(d)]


def largest(fits: Sequence[BatchFit]) -> BatchFit:
    """Of what several models say of one batch size."""
    return max(fits, key=lambda fit: fit.memory_bytes)


def _fit(size: int, need: MemoryModel, room: MemoryLimit) -> BatchFit:
    """The batch in one piece, or in run_halving halved as often as training would halve them."""
    piece = size
    while piece > 1 and need.bytes(piece) > room.now:
        piece = (piece + 1) // 2
    return BatchFit(batch_size=size, fits=piece == size, micro_batch=piece, memory_bytes=need.bytes(size))


def measure(opened: OpenStudy, warm: ModelCache, params: Params, assignment: Assignment) -> MemoryModel:
    """What training steps hold, from batches of the longest examples. Raises torch.OutOfMemoryError."""
    model, backbone = prepare(opened, params, assignment.seed)
    encoded = opened.encoded("train", int(params["max_length"]))
    longest = sorted(range(len(encoded)), key=lambda i: -encoded.lengths[i])[: PROBES[-1]]
    computer = Engine(model, opened.task, warm, precision=assignment.spec.precision)
    computer.settle_precision(opened, encoded)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    held = weights + trained * (1 + STATES[str(params["optimizer"])])  # 1: the gradients
    optimizer = optim.make_optimizer(optim.parameter_groups(model, backbone.layers, backbone.depth + 1, params), params)

    def step(rows: list[int]) -> float:
        backbone.train_mode()
        if computer.device.type == "cpu":
            with _saved(model) as saved:
                computer.gradient(encoded, rows)
            return held + CPU_TRANSIENT * sum(saved.values())
        for _ in range(2):  # the first one makes the optimizer's states
            computer.reset_peak()
            computer.gradient(encoded, rows)
            optimizer.step()
        return computer.memory()

    seed_everything(assignment.seed)
    before, warm.micro_batch = warm.micro_batch, None
    few = min(PROBES[0], len(longest))
    try:
        least, most = step(longest[:few]), step(longest)
        slope = (most - least) / (len(longest) - few) if len(longest) > few else 0.0
        if slope <= 0 or warm.micro_batch is not None:  # nothing to compare, or only pieces of the larger batch fitted
            slope = max(least - held, 0.0) / few
        return MemoryModel(least - slope * few, slope, weights)
    finally:
        warm.micro_batch = before
        model.zero_grad(set_to_none=True)


@contextlib.contextmanager
def _saved(model: nn.Module) -> Iterator[dict[int, int]]:
    """Address -> bytes of each storage that the backward pass will need, the model's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would keep its own graph alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _gpu_room(gpus: float) -> MemoryLimit:
    size = torch.cuda.mem_get_info()[1] * USABLE * gpus
    return MemoryLimit(size, size)


def _cpu_room(weights: int) -> MemoryLimit:
    """What the machine and the container leave. The weights are loaded already, and so are not in what is free."""
    machine = _meminfo()
    total, free = machine.get("MemTotal", math.inf), machine.get("MemAvailable", math.inf)
    limit = memory_limit(CGROUP)
    if limit is not None:
        total, free = min(total, limit), min(free, limit - (memory_usage(CGROUP) or 0))
    return MemoryLimit(free + weights, total)


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes; empty off Linux."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
