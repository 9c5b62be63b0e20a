"""ONNX files of winners: for each kind of input and task, torch's answers from ONNX Runtime alone; or a sentence."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers

from luthier.studies.archives import unpack_archive
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Batching, OnnxExport
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.tasks import TASKS
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs import onnx_check, reload
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.onnx_export import NAME, export_onnx
from luthier.trials.jobs.train import train
from luthier.trials.model import onnx_graph
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
PARAMS = {"epochs": 1, "batch_size": 8}
WIDE = (
    *("bert-tokens", "bert-numbers", "bert-labels", "bert-questions", "deberta-v2", "modernbert", "llama", "gpt2"),
    *("resnet", "vit", "swin", "convnext", "mobilenet-v2", "efficientnet", "resnet-labels", "vit-numbers", "segformer"),
    *("wav2vec2", "hubert", "whisper", "ast", "wav2vec2-labels", "whisper-numbers", "wav2vec2-ctc"),
)


class Winner:
    """A packed model of a tiny study, and its export."""

    def __init__(
        self,
        assign: Assign,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        params: dict[str, Any] | None = None,
    ) -> None:
        monkeypatch.setattr(reload, "check", lambda archive, recorded, work, session: None)
        model, self.task = ARCHITECTURES[name], ARCHITECTURES[name].task
        source = {"source": str(tiny_data(self.task, folder / "data")), "validation": 0.25, "test": 0.25}
        self.spec = {"task": self.task, "model": str(model.build(folder / "model")), "dataset": source}
        self.spec |= {"semantics": NEWEST_SEMANTICS}
        self.assign, self.folder, self.params = assign, folder, PARAMS | (params or {})
        session, cache = Memory(folder / "winner"), ModelCache()
        train(assign(spec=self.spec, params=self.params), session, cache)
        work = assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), spec=self.spec, params=self.params)
        evaluate(work, session, cache)
        self.archive = session.folder / "model.tar.gz"

    def export(self, folder: str = "export") -> OnnxExport:
        self.session = Memory(self.folder / folder)
        packed = shutil.copy(self.archive, self.session.folder)
        work = self.assign(
            AssignmentKind.ONNX, spec=self.spec, params=self.params, packed=file_ref(Path(packed)), number=3
        )
        return export_onnx(work, self.session, ModelCache())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("bert", marks=pytest.mark.full),
        *(pytest.param(name, marks=pytest.mark.wide) for name in WIDE),
    ],
)
def test_a_winner_answers_as_onnx_as_it_does_with_transformers(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    winner = Winner(assign, tmp_path, monkeypatch, name)
    found = winner.export()
    assert {file.name for file in winner.session.folder.iterdir()} == {"model.tar.gz", NAME}
    assert found.file == file_ref(winner.session.folder / NAME)
    assert found.rows > 1
    assert found.difference <= 5e-5
    unpack_archive(winner.session.folder / NAME, tmp_path / "onnx")
    unpack_archive(winner.archive, tmp_path / "plain")
    about = json.loads((tmp_path / "onnx/onnx/luthier.json").read_text())
    assert (about["trial"], about["check"]["rows"]) == (3, found.rows)
    graph = (tmp_path / "onnx/onnx/model.onnx").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in graph, "no path of this machine"
    assert not list((tmp_path / "onnx").glob("*.safetensors"))
    assert (tmp_path / "onnx/luthier.json").read_bytes() == (tmp_path / "plain/luthier.json").read_bytes()
    for shape in about["inputs"].values():
        assert shape[0] == "batch"
        assert ("sequence" in shape) == (len(shape) == 2), "lengths of texts and waveforms are free"
    auto = next(auto for auto in TASKS[winner.task].auto if _knows(getattr(transformers, auto), tmp_path / "plain"))
    model = getattr(transformers, auto).from_pretrained(tmp_path / "plain")
    _compare(tmp_path / "onnx", model.eval(), about)
    if winner.task == "text-classification":
        _as_documented(tmp_path, monkeypatch)


def _knows(auto: Any, folder: Path) -> bool:
    return type(transformers.AutoConfig.from_pretrained(folder)) in auto._model_mapping


def _compare(folder: Path, model: Any, about: dict[str, Any]) -> None:
    """Assert that ONNX Runtime gives the model's outputs for inputs that no row of the data has."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    draw = numpy.random.default_rng(0)
    for rows, length in ((1, 9), (4, 16), (6, 5)):
        inputs: dict[str, numpy.ndarray] = {}
        for node in session.get_inputs():
            sizes = {"batch": rows, "sequence": length * (400 if node.name == "input_values" else 1)}
            shape = [sizes.get(size, size) for size in node.shape]
            if node.name.endswith("attention_mask"):
                inputs[node.name] = numpy.ones(shape, numpy.int64)
                inputs[node.name][-1, shape[1] // 2 + 1 :] = 0
            elif "int64" in node.type:
                most = 2 if node.name == "token_type_ids" else 100
                inputs[node.name] = draw.integers(1 if most > 2 else 0, most, shape)
            else:
                inputs[node.name] = draw.normal(size=shape).astype(numpy.float32)
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(values) for name, values in inputs.items()})
        for name, values in zip(about["outputs"], session.run(about["outputs"], inputs), strict=True):
            numpy.testing.assert_allclose(values, expected[name].numpy(), atol=1e-4, rtol=1e-4)


def _as_documented(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that the code in docs/onnx.md gives the answers of the pipeline, of the winner's own directory."""
    text = Path(__file__).parents[3].joinpath("docs/onnx.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    (folder / "here").mkdir()
    (folder / "here/winner").symlink_to(folder / "onnx", target_is_directory=True)
    monkeypatch.chdir(folder / "here")
    names: dict[str, Any] = {}
    exec(compile(code, "docs/onnx.md", "exec"), names)
    classify = transformers.pipeline("text-classification", model=str(folder / "plain"))
    assert names["answers"] == [classify(text)[0]["label"] for text in names["texts"]]


@pytest.mark.wide
def test_a_winner_with_adapters_is_exported_merged(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Winner(assign, tmp_path, monkeypatch, "bert", {"strategy": "lora", "lora_rank": 2})
    assert winner.export().difference <= 5e-5
    with tarfile.open(winner.session.folder / NAME) as tar:
        assert not any("adapter" in name for name in tar.getnames())


def test_what_cannot_be_exported_leaves_a_sentence_and_nothing_else(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Winner(assign, tmp_path, monkeypatch, "bert")

    def refused(folder: str) -> str:
        with pytest.raises(BadData) as problem:
            winner.export(folder)
        assert problem.value.path == []
        assert [file.name for file in winner.session.folder.iterdir()] == ["model.tar.gz"]
        return problem.value.message

    monkeypatch.setattr(onnx_graph, "LIBRARIES", ("onnx", "no_such_library"))
    assert "lacks no_such_library" in refused("lacking")
    assert "pip install 'luthier[onnx]'" in refused("lacking")
    monkeypatch.undo()
    monkeypatch.setattr(torch.onnx, "export", _failing)
    assert "refuses it (TypeError: sizes depend on data)" in refused("refusing")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_graph, "export", _constant_graph)
    assert "differs from torch by" in refused("differing")
    (tmp_path / "data" / "data.csv").unlink()
    assert "tried on rows of the study's data first, which this worker cannot read" in refused("without-data")


def _failing(*_: Any, **__: Any) -> None:
    try:
        raise TypeError("sizes depend on data")
    except TypeError as error:
        raise RuntimeError("Failed to export the model.") from error


def _constant_graph(model: Any, inputs: Any, axes: Any, outputs: list[str], path: Path) -> int:
    """Write a graph that answers 7 to everything."""
    import onnx
    from onnx import TensorProto, helper

    names = list(inputs)
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    shape = helper.make_node("Shape", [names[0]], ["rows"], start=0, end=1)
    two = helper.make_node("Constant", [], ["two"], value_ints=[2])
    both = helper.make_node("Concat", ["rows", "two"], ["shape"], axis=0)
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [7.0])
    filled = helper.make_node("ConstantOfShape", ["shape"], [outputs[0]], value=value)
    answer = helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph([shape, two, both, filled], "constant", given, [answer])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return 18


@pytest.mark.wide
def test_a_model_of_speech_that_writes_is_refused(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Winner(assign, tmp_path, monkeypatch, "whisper-speech")
    with pytest.raises(BadData, match=r"WhisperForConditionalGeneration, which writes token by token"):
        winner.export()


def test_differences_are_by_the_size_of_an_output() -> None:
    def apart(own: list[float], other: list[float]) -> float:
        return onnx_check._difference(numpy.array(own, numpy.float32), numpy.array(other, numpy.float32))

    infinite, unknown = float("inf"), float("nan")
    assert apart([0.5, 2.0], [0.25, 4.0]) == 0.5
    assert apart([], []) == 0.0
    assert apart([infinite, unknown, 1.0], [infinite, unknown, 1.0]) == 0.0
    for own, other in ((1.0, unknown), (unknown, 1.0), (infinite, -infinite), (1.0, infinite), (infinite, 1.0)):
        assert apart([own], [other]) == infinite


@pytest.mark.parametrize("batching", Batching)
def test_rows_are_padded_together_only_where_the_model_allows_it(
    assign: Assign, tmp_path: Path, batching: Batching
) -> None:
    from luthier.trials.tasks.registry import task_code

    data = tiny_data("text-classification", tmp_path / "data")
    spec = {"dataset": {"source": str(data)}, "semantics": NEWEST_SEMANTICS}
    work = assign(spec=spec)
    task = task_code("text-classification")
    examples = ModelCache().data(work)
    pretrained = task.load(Path(work.spec.models[0]), "m", examples.targets)
    encoded = task.encode_exactly(pretrained, examples.splits["train"].take(range(6)), 32).batched(batching)
    batches = onnx_check.batches(encoded)
    assert {len(rows) for rows in batches} >= {1, 2, 3}
    mixed = any(len({encoded.lengths[row] for row in rows}) > 1 for rows in batches)
    assert mixed == (batching in (Batching.RIGHT, Batching.LEFT))
    traced = onnx_check.traced_batch(task, encoded)
    assert traced["input_ids"].shape[0] > 1
    axes = onnx_check.axes_of(task, encoded, traced)
    assert set(map(str, axes["input_ids"].items())) == {"(0, 'batch')", "(1, 'sequence')"}
