"""A model as an ONNX graph: made by torch's own exporter, and answered by ONNX Runtime.

`jobs.onnx_export` calls it. The libraries of the extra `onnx` are imported where they are used: a worker without them
does all other work. The graph holds the model alone, in float32: neither a tokenizer nor what is made of its outputs.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.files import disk_problem
from luthier.trials.memory import out_of_memory

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
NAME = "model.onnx"
MOST_BYTES = 1_900_000_000
"""Of weights within the file itself, whose format allows 2 GB; larger ones lie beside it, in model.onnx.data."""
ROWS, LENGTH = "batch", "sequence"  # names of axes, as other tools call them
LOGGERS = ("torch.__trace", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")
Inputs = Mapping[str, torch.Tensor]
Axes = Mapping[str, Mapping[int, str]]


def check_libraries() -> None:
    """Raise BadData where this worker lacks a library of the extra `onnx`."""
    lacking = [name for name in LIBRARIES if find_spec(name) is None]
    if lacking:
        raise BadData(
            f"This worker lacks {' and '.join(lacking)}, by which ONNX files are made and tried: run "
            "pip install 'luthier[onnx]' where it runs, then ask for the file again."
        )


class OnnxGraph:
    """A graph in a file, opened by ONNX Runtime on the CPU; one that it cannot load is BadData.

    Attributes:
        inputs: The names of its inputs.
        outputs: The names of its outputs.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes of errors are not the same in all versions
            if out_of_memory(error) or isinstance(error, MemoryError):
                raise
            told = f"The ONNX file was written, but ONNX Runtime cannot load it ({reason(error)}); it was thrown away."
            raise BadData(f"{told} Use the model itself (`luthier model`).") from None
        self.inputs = [node.name for node in self._session.get_inputs()]
        self.outputs = list(outputs)

    def answer(self, inputs: Inputs) -> list[numpy.ndarray]:
        """Return its outputs, in the order of `outputs`. Raises whatever ONNX Runtime raises."""
        given = {name: values.numpy() for name, values in inputs.items() if name in self.inputs}
        found: list[numpy.ndarray] = self._session.run(self.outputs, given)
        return found


class _Named(nn.Module):
    """A model whose inputs and outputs have an order: the exporter names them by it."""

    def __init__(self, model: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, tuple(inputs), tuple(outputs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs for the inputs, both in their order."""
        found = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(getattr(found, name) for name in self.outputs)


def export(model: Any, inputs: Inputs, axes: Axes, outputs: Sequence[str], path: Path) -> int:
    """Write a model as an ONNX graph, and return the version of ONNX's operators that it uses.

    Args:
        model: On the CPU, in evaluation mode. Its attention is computed step by step from then on, which the exporter
            can follow in every model.
        inputs: A batch of at least two rows.
        axes: Input -> axis -> its name, of axes whose size may be another one. The same name is the same size.
        outputs: Names of the model's outputs.
        path: The file to write.

    Raises:
        BadData: The exporter cannot do this model; the sentence has its reason.
        OSError: The disk refuses the file.
        MemoryError: The memory does not suffice.
    """
    shapes = tuple(dict(axes[name]) for name in inputs)
    try:
        with _quiet():
            if hasattr(model, "set_attn_implementation"):
                model.set_attn_implementation("eager")
            program: Any = torch.onnx.export(
                _Named(model, list(inputs), outputs).eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(shapes,),
                dynamo=True,
                verbose=False,
            )
            _forget_traces(program.model)
            size = sum(values.nbytes for values in model.state_dict().values())
            program.save(str(path), external_data=size > MOST_BYTES)
    except Exception as error:
        if out_of_memory(error) or isinstance(error, MemoryError) or disk_problem(error, path.parent):
            raise
        raise BadData(
            f"{type(model).__name__} cannot be written as an ONNX file: the exporter of torch {torch.__version__} "
            f"refuses it ({reason(error)}). Use the model itself (`luthier model`), or ask a worker with a newer torch."
        ) from None
    return int(program.model.opset_imports[""])


def reason(error: BaseException) -> str:
    """Return the first cause of an error in a line; the exporter's own first line says only what it tried."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {one_line(str(error).strip(), 200).rstrip('.')}"


def _forget_traces(graph: Any) -> None:
    """Remove the lines of code that the exporter notes at each node: they are of this machine's files, and long."""
    for node in graph.graph.all_nodes():
        node.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to its own developers out of the log, errors aside."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
