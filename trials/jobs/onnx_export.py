"""Export the winner as an ONNX file, and try it on rows of the study's data before anybody gets it.

The child calls `export_onnx`. The packed model is exported, in float32 and on the CPU, and torch's answers are those of
the same model. The archive has the file beside the model's configuration and processor, without its weights.
"""

import json
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from luthier.studies.protocol import Assignment
from luthier.studies.results import OnnxExport
from luthier.studies.tasks import TASKS
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs import card, onnx_check
from luthier.trials.jobs.packed_model import SEEN, PackedModel, unpack, write_archive
from luthier.trials.jobs.predict import WORK_PREFIX
from luthier.trials.jobs.recorded_answers import spread_rows
from luthier.trials.model import onnx_graph
from luthier.trials.model.onnx_graph import OnnxGraph
from luthier.trials.model.pretrained import Pretrained, quieten
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.model_cache import ModelCache

NAME = "onnx.tar.gz"
FOLDER, ABOUT = "onnx", "luthier.json"
"""In the archive: the folder of the ONNX file, and in it how the file was made and tried."""
EXAMPLES = 16
"""The most examples that are tried."""
LEFT_OUT = ("*.safetensors", "*.safetensors.index.json", SEEN, card.NAME)
"""Files of a packed model that do not go with the ONNX file: weights, digests of rows, the card of the weights."""


def export_onnx(assignment: Assignment, session: Session, cache: ModelCache) -> OnnxExport:
    """Write `assignment.packed` as an ONNX file, compare it with torch, and pack it as `NAME`.

    Args:
        assignment: Spec, packed model and its configuration.
        session: Its folder holds the packed model, and gets the archive.
        cache: Data that this process keeps.

    Raises:
        BadData: The model cannot be exported, differs as an ONNX file, or its data cannot be read; or a library lacks.
        Ended: The assignment is to end now.
    """
    for leftover in session.folder.glob(f"{WORK_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if assignment.packed is None:
        raise BadData("There is no model to export.")
    if TASKS[assignment.spec.task].no_onnx:
        raise BadData(f"{assignment.spec.task} has no ONNX files: {TASKS[assignment.spec.task].no_onnx}.")
    onnx_graph.check_libraries()
    quieten()
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=session.folder))
    try:
        packed = unpack(session.folder, assignment.packed, work, assignment.spec.task)
        found = _exported(assignment, packed, session, cache)
        (work / NAME).replace(session.folder / NAME)
        return found
    except BadData as error:
        raise BadData(error.message) from error  # no path: no field of the spec is wrong
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exported(assignment: Assignment, packed: PackedModel, session: Session, cache: ModelCache) -> OnnxExport:
    """Write, try and pack the ONNX file of an unpacked model; the archive lies beside its folder. Raises BadData."""
    task = task_code(assignment.spec.task)
    task.check(packed.folder, "the winner")
    pretrained = task.load(packed.folder, "the winner", packed.targets)
    model: Any = pretrained.model
    model.to("cpu").eval()
    if model.can_generate():
        raise BadData(
            f"The winner is a {type(model).__name__}, which writes token by token, from a memory that grows; an ONNX "
            "file of torch's exporter is one pass. Use the model itself (`luthier model`)."
        )
    encoded = _rows(assignment, packed, pretrained, task, cache)
    given = [task.collate(encoded, rows) for rows in onnx_check.batches(encoded)]
    expected = onnx_check.torch_answers(model, task.outputs, given, session.poll)
    traced = onnx_check.traced_batch(task, encoded)
    axes = onnx_check.axes_of(task, encoded, traced)
    folder = packed.folder / FOLDER
    folder.mkdir()
    session.poll()
    opset = onnx_graph.export(model, traced, axes, task.outputs, folder / onnx_graph.NAME)
    graph = OnnxGraph(folder / onnx_graph.NAME, task.outputs)
    difference = onnx_check.largest_difference(graph, given, expected, session.poll)
    about = {
        "study": assignment.study,
        "trial": assignment.number,
        "opset": opset,
        "inputs": {name: _shape(values, axes[name]) for name, values in traced.items() if name in graph.inputs},
        "outputs": list(task.outputs),
        "check": {"rows": len(encoded), "difference": difference, "tolerance": onnx_check.TOLERANCE},
        "versions": _versions(),
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    for pattern in LEFT_OUT:
        for file in packed.folder.glob(pattern):
            file.unlink()
    write_archive(packed.folder, packed.folder.parent / NAME)
    session.log(
        f"an ONNX file (opset {opset}) gives the answers of torch to {len(encoded)} rows of the data, in batches of "
        f"several sizes and lengths (to {difference:.1e}; {onnx_check.TOLERANCE:.0e} is allowed)"
    )
    return OnnxExport(rows=len(encoded), difference=difference, file=file_ref(packed.folder.parent / NAME))


def _rows(
    assignment: Assignment, packed: PackedModel, pretrained: Pretrained, task: TaskCode[Any], cache: ModelCache
) -> Encoded:
    """Return some rows of the test split, or of validation, as the model's inputs. Raises BadData."""
    try:
        splits = cache.data(assignment).splits
    except BadData as error:
        told = (
            f"An ONNX file is tried on rows of the study's data first, which this worker cannot read: {error.message}"
        )
        raise BadData(told) from error
    split = splits.get("test") or splits["validation"]
    examples = split.take(spread_rows(split, EXAMPLES))
    return task.encode_exactly(pretrained, examples, packed.max_length).batched(packed.batching)


def _versions() -> dict[str, str]:
    """Return the versions of what made the file."""
    libraries = {name: version(name) for name in ("luthier", *onnx_graph.LIBRARIES)}
    return libraries | {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _shape(values: torch.Tensor, axes: dict[int, str]) -> list[int | str]:
    return [axes.get(axis, size) for axis, size in enumerate(values.shape)]
