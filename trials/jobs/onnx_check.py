"""Whether an ONNX graph answers as torch does, on rows of the study's data: the check of `onnx_export`.

Batches of several sizes and lengths are given to both, padded where the model allows that. Outputs are compared, not
what is made of them: two equal labels would hide a difference.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy
import torch
from torch import nn

from luthier.studies.results import Batching
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.model.onnx_graph import LENGTH, ROWS, Inputs, OnnxGraph, reason
from luthier.trials.tasks.base import TaskCode

TOLERANCE = 1e-4
"""How far an output may be from torch's, by the size of that above 1; both are float32, on the CPU."""
ALONE = (Batching.EQUAL, Batching.SINGLE)
TRACED = (2, 3, 5, 7)
"""Rows of the batch that is traced: the first number that no other axis has, so that none is taken for it."""


def batches(encoded: Encoded) -> list[list[int]]:
    """Return the batches that are compared, as row numbers: alone, the shortest beside the longest, few, and all.

    A model whose answers depend on padding gets every row alone, and a row several times.
    """
    order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])
    first, last = order[0], order[-1]
    if encoded.batching in ALONE:
        return [*([row] for row in order), [first, first], [last, last, last]]
    return [[first], [last], [first, last], order[:3], order]


def traced_batch(task: TaskCode, encoded: Encoded) -> Inputs:  # type: ignore[type-arg]
    """Return the batch that the exporter follows: the longest row, and a shorter one if rows are padded."""
    order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])
    longest, other = order[-1], order[-1 if encoded.batching in ALONE else 0]
    sizes = {size for values in task.collate(encoded, [longest]).values() for size in values.shape[1:]}
    rows = next(number for number in TRACED if number not in sizes)
    return task.collate(encoded, [other, *[longest] * (rows - 1)])


def axes_of(task: TaskCode, encoded: Encoded, inputs: Inputs) -> dict[str, dict[int, str]]:  # type: ignore[type-arg]
    """Return, of each input, the axes whose size may be another one: axis -> its name.

    Rows are one for each input. So are lengths of texts and waveforms, and any axis that differs among the rows; images
    and spectra of one size have no other.
    """
    alone = [task.collate(encoded, [row]) for row in range(len(encoded))]
    axes: dict[str, dict[int, str]] = {}
    for name, values in inputs.items():
        axes[name] = {0: ROWS}
        for axis in range(1, values.ndim):
            if values.ndim == 2 or len({one[name].shape[axis] for one in alone}) > 1:
                axes[name][axis] = LENGTH if axis == 1 else f"{name}_{axis}"
    return axes


def torch_answers(
    model: nn.Module, outputs: Sequence[str], given: Sequence[Inputs], poll: Callable[[], None]
) -> list[list[numpy.ndarray]]:
    """Return torch's outputs for some batches, in order of their names; the model is on the CPU."""
    found = []
    with torch.no_grad():
        for inputs in given:
            poll()
            answer = model(**inputs)
            found.append([getattr(answer, name).float().numpy() for name in outputs])
    return found


def largest_difference(
    graph: OnnxGraph, given: Sequence[Inputs], expected: Sequence[Sequence[numpy.ndarray]], poll: Callable[[], None]
) -> float:
    """Return the largest difference between a graph's outputs and torch's, by the size of these above 1.

    Raises:
        BadData: It is larger than `TOLERANCE`, or the graph cannot answer; the sentence names the batch.
    """
    largest = 0.0
    for inputs, answers in zip(given, expected, strict=True):
        poll()
        try:
            found = graph.answer(inputs)
        except Exception as error:  # ONNX Runtime has no class for its errors that versions share
            raise _unequal(inputs, f"gives no answer to {{}} ({reason(error)})") from None
        for name, own, other in zip(graph.outputs, found, answers, strict=True):
            if own.shape != other.shape:
                raise _unequal(inputs, f"answers {{}} with {name} of the shape {own.shape}, not {other.shape}")
            difference = _difference(own, other)
            if not difference <= TOLERANCE:
                raise _unequal(inputs, f"differs from torch by {difference:.2g} in {name} for {{}}")
            largest = max(largest, difference)
    return largest


def _difference(own: numpy.ndarray, other: numpy.ndarray) -> float:
    """Return the largest difference, by the size of `other` above 1; equal values that are not finite count 0."""
    if not own.size:
        return 0.0
    with numpy.errstate(invalid="ignore"):
        apart = numpy.abs(own.astype(numpy.float64) - other) / numpy.maximum(1.0, numpy.abs(other))
    same = (own == other) | (numpy.isnan(own) & numpy.isnan(other))
    return float(numpy.where(same, 0.0, numpy.where(numpy.isnan(apart), numpy.inf, apart)).max())


def _unequal(inputs: Mapping[str, torch.Tensor], what: str) -> BadData:
    shapes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in inputs.items())
    return BadData(
        f"The ONNX file was written, but it {what.format(f'a batch of rows of the data ({shapes})')}; {TOLERANCE:g} is "
        "allowed, and it was thrown away. Use the model itself (`luthier model`), or ask a worker with a newer torch."
    )
