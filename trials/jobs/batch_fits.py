"""Find which batch sizes of a space fit in memory, by extrapolation from two small batches.

The memory of a step grows linearly with its examples: a fixed part (weights, gradients, the optimizer's states) and a
part for each example (tensors of the forward pass that the backward pass needs). The costliest configuration is
measured: the longest examples, the fewest frozen blocks. The inspection calls `batch_fits`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Assignment
from luthier.studies.results import BatchFit
from luthier.studies.space import Space
from luthier.trials.errors import BadData
from luthier.trials.jobs.memory_limit import MemoryLimit, cpu_limit, gpu_limit
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.optim import OPTIMIZER_STATES
from luthier.trials.training.probe import Probe, set_up_probe
from luthier.trials.training.seeding import seed_everything

PROBES = (1, 4)
"""Examples in the two batches that are measured."""
CPU_TRANSIENT = 1.4
"""A process's real growth over the tensors saved for the backward pass: 1.1 (BERT) to 1.4 (ResNet)."""
GPU_STEPS = 2
"""Steps of which the last is measured on a GPU: the first one allocates the optimizer's states."""
CURE = "choose a smaller model or max_length, freeze more blocks, or use a larger machine."


@dataclass(frozen=True)
class MemoryModel:
    """The bytes that a training step holds, as a linear function of its examples.

    Attributes:
        fixed: Bytes that do not depend on the examples.
        per_example: Bytes for each example.
        weights: Bytes of the model's weights, a part of `fixed`.
    """

    fixed: float
    per_example: float
    weights: int

    def bytes(self, examples: int) -> int:
        """Return the bytes of a step of so many examples."""
        return int(self.fixed + self.per_example * examples)


def batch_fits(
    assignment: Assignment, study: OpenStudy, micro_batch: MicroBatch, space: Space, params: Params
) -> list[BatchFit]:
    """Return for each batch size of a space whether it fits in memory.

    Args:
        assignment: Seed, precision and share of the GPU.
        study: Data and model, from the cache.
        micro_batch: Left as it was.
        space: Resolved: freeze depths are numbers of blocks.
        params: A configuration of the space; the measured one has its other values.

    Returns:
        Batch sizes as `batch_sizes` gives them, ascending.

    Raises:
        BadData: Not even a single example fits.
    """
    costliest = dict(params)
    if "max_length" in space:
        costliest["max_length"] = space.largest("max_length")
    if "freeze_depth" in space:
        costliest["freeze_depth"] = space.least("freeze_depth")
    if "lora_rank" in space:
        costliest["lora_rank"] = space.largest("lora_rank")
    if space.offers("lora_variant", "dora"):
        costliest["lora_variant"] = "dora"
    models = assignment.spec.models
    path = ("model", models.index(str(params["model"]))) if len(models) > 1 else ("model",)
    on_gpu = next(study.pretrained.model.parameters()).device.type == "cuda"
    gpus = assignment.spec.resources.gpus or 1.0
    place = ("this worker's GPU" if gpus == 1 else f"{gpus:g} of this worker's GPU") if on_gpu else "this worker"
    try:
        need = measure(study, micro_batch, space.assigned(costliest), assignment)
    except torch.OutOfMemoryError:
        raise BadData(f"Not even one training example fits in the memory of {place}: {CURE}", *path) from None
    limit = gpu_limit(gpus) if on_gpu else cpu_limit(need.weights)
    if need.bytes(1) > limit.total:
        text = f"Training on one example at a time takes about {_gb(need.bytes(1))}, and {place} has {_gb(limit.total)}"
        raise BadData(f"{text}: {CURE}", *path)
    most = assignment.spec.resources.micro_batch
    return [_fit(size, min(size, most or size), need, limit) for size in batch_sizes(space, params)]


def batch_sizes(space: Space, params: Params) -> list[int]:
    """Return the batch sizes to report, ascending: every choice; of a range both ends and the powers of two between.

    Args:
        space: Where it has no batch size, there is only that of `params`.
        params: A configuration of the space.
    """
    dimension = space["batch_size"] if "batch_size" in space else params["batch_size"]
    if isinstance(dimension, Range):
        low = int(dimension.low)
        high = int(dimension.high)
        between = (2**i for i in range(low.bit_length(), high.bit_length()) if low < 2**i < high)
        return sorted({low, high, *between})
    return sorted(map(int, dimension)) if isinstance(dimension, tuple) else [int(dimension)]


def largest(fits: Sequence[BatchFit]) -> BatchFit:
    """Return, of several models' answers on one batch size, the one that takes the most memory."""
    return max(fits, key=lambda fit: fit.memory_bytes)


def _fit(size: int, piece: int, need: MemoryModel, limit: MemoryLimit) -> BatchFit:
    """Return whether a batch goes through the model whole, or in pieces, halved as often as training would halve them.

    Args:
        size: Examples of the batch.
        piece: Examples that may go through the model together, whatever the memory.
        need: The memory of a step.
        limit: What there is.
    """
    while piece > 1 and need.bytes(piece) > limit.now:
        piece = (piece + 1) // 2
    return BatchFit(batch_size=size, fits=piece == size, micro_batch=piece, memory_bytes=need.bytes(size))


def measure(study: OpenStudy, micro_batch: MicroBatch, params: Params, assignment: Assignment) -> MemoryModel:
    """Measure training steps of the longest examples, and return the memory of a step.

    Args:
        study: Data and model, from the cache.
        micro_batch: Left as it was; the steps run without it.
        params: The configuration.
        assignment: Seed and precision.

    Raises:
        torch.OutOfMemoryError: A single example does not fit.
    """
    probe = set_up_probe(assignment, study, params, micro_batch)
    lengths = probe.training.lengths
    longest = sorted(range(len(lengths)), key=lambda row: -lengths[row])[: PROBES[-1]]
    few = min(PROBES[0], len(longest))
    weights = sum(tensor.nbytes for tensor in (*probe.model.parameters(), *probe.model.buffers()))
    trained = sum(parameter.nbytes for parameter in probe.engine.trained)
    held = weights + trained * (1 + OPTIMIZER_STATES[str(params["optimizer"])])  # 1: the gradients
    seed_everything(assignment.seed)
    try:
        with micro_batch.without():
            least = _step_bytes(probe, longest[:few], held)
            most = _step_bytes(probe, longest, held)
            in_pieces = micro_batch.limit is not None
    finally:
        probe.model.zero_grad(set_to_none=True)
    slope = (most - least) / (len(longest) - few) if len(longest) > few else 0.0  # bytes for each example
    if slope <= 0 or in_pieces:  # nothing to compare, or only pieces of the larger batch fitted
        slope = max(least - held, 0.0) / few
    return MemoryModel(least - slope * few, slope, weights)


def _step_bytes(probe: Probe, rows: list[int], held: int) -> float:
    """Return the bytes that a training step of some examples holds.

    Args:
        probe: The model; on a GPU the step changes it.
        rows: The examples' numbers in the training split.
        held: Bytes of weights, gradients and the optimizer's states.
    """
    probe.backbone.train_mode()
    if probe.engine.device.type == "cpu":
        return held + CPU_TRANSIENT * _kept_bytes(probe, rows)
    for _ in range(GPU_STEPS):
        probe.meter.reset()
        probe.engine.gradient(replace(probe.training, changes=None), rows)
        probe.optimizer.step()
    return probe.meter.measure()


def _kept_bytes(probe: Probe, rows: list[int]) -> int:
    """Return the bytes that are kept for the backward pass of a step of some examples.

    With gradient checkpointing one block's inner values are there, too, while they are computed again: those of the
    first or of the last one, which are the largest where blocks differ.
    """
    recomputed = list(probe.engine.recomputed)
    most = 0
    try:
        for whole in (recomputed[:1], recomputed[-1:]) if recomputed else ([],):
            probe.engine.recomputed = [block for block in recomputed if block not in whole]
            with _saved_bytes(probe.model) as saved:
                probe.engine.gradient(replace(probe.training, changes=None), rows)
            most = max(most, sum(saved.values()))
    finally:
        probe.engine.recomputed = recomputed
    return most


@contextlib.contextmanager
def _saved_bytes(model: nn.Module) -> Iterator[dict[int, int]]:
    """Yield address -> bytes of each storage that the backward pass will need, without those of the model itself."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would keep its own graph alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
