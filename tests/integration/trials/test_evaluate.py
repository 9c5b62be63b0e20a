"""Inspecting a study and packing its winner; models that are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.model.folder import model_folder
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.archives import unpack_tar
from tests.support.tiers import a_few
from tests.support.tiny import LABELS, tiny_csv, tiny_rows
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.mark.parametrize("depth", a_few(1, [2, 0]))
def test_the_packed_model_is_whole_and_scores_the_same(
    assign: Assign, session: Memory, tmp_path: Path, depth: int
) -> None:
    warm, params = ModelCache(), {"freeze_depth": depth}
    trial = assign(params=params)
    train(trial, session, warm)
    made = {"checkpoint": session.checkpoint(), "provenance": {"study": "tiny", "trial": 3}}
    (session.folder / ".pack-killed" / "model").mkdir(parents=True)
    work = assign(AssignmentKind.EVALUATE, params=params, **made)
    evaluation = evaluate(work, session, ModelCache())
    packed = session.folder / "model.tar.gz"
    assert evaluation.model == file_ref(packed)
    assert [file.name for file in session.folder.iterdir() if file.name.startswith(".")] == []
    unpack_tar(packed, tmp_path / "model")

    about = json.loads((tmp_path / "model" / "luthier.json").read_text())
    data = warm.open(trial).data
    assert about["trial"] == 3
    assert about["seed"] == 7
    assert about["fingerprint"] == data.fingerprint
    assert about["test"] == evaluation.test
    assert about["label_names"] == ["anger", "joy"]
    assert about["model_sha256"] == file_ref(Path(trial.spec.model) / "model.safetensors").sha256
    assert about["versions"].keys() == {"luthier", "python", "torch", "transformers"}

    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.config.id2label == {0: "anger", 1: "joy"}
    test = data.splits["test"]
    with torch.no_grad():
        logits = model(**tokenizer(test.columns["text"], padding=True, return_tensors="pt")).logits
    labels = torch.tensor(test.targets)
    assert evaluation.test is not None
    assert evaluation.test["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert evaluation.test["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-4)

    again = Memory(tmp_path / "again")
    shutil.copy(session.named("best"), again.folder)
    assert evaluate(work, again, warm) == evaluation  # the same bytes too


def test_weights_that_were_written_anew_are_read_anew(assign: Assign, model: Path, tmp_path: Path) -> None:
    folder, warm = tmp_path / "base", ModelCache()
    shutil.copytree(model, folder)
    work = assign(spec={"model": str(folder)})
    name = "bert.embeddings.word_embeddings.weight"
    assert warm.open(work).pretrained is warm.open(work).pretrained
    before = warm.open(work).pretrained.pristine[name]
    weights = load_file(folder / "model.safetensors")
    save_file({key: tensor + 1 for key, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(warm.open(work).pretrained.pristine[name], before + 1)


def test_without_a_test_split_there_is_no_test_score(assign: Assign, session: Memory, data: Path) -> None:
    spec = {"dataset": {"source": str(data), "test": 0}}
    train(assign(spec=spec, params={"epochs": 1}), session, ModelCache())
    work = assign(AssignmentKind.EVALUATE, spec=spec, params={"epochs": 1}, checkpoint=session.checkpoint())
    assert evaluate(work, session, ModelCache()).test is None


def test_inspection_says_what_model_and_data_are(assign: Assign, session: Memory) -> None:
    found = inspect(assign(AssignmentKind.INSPECT), session, ModelCache())
    assert [block.name for block in found.blocks] == ["bert.encoder.layer.0", "bert.encoder.layer.1"]
    assert len(found.trainable_parameters) == 3
    assert found.trainable_parameters[2] == 2 * 32 + 2
    assert found.rows == {"train": 168, "validation": 36, "test": 36}
    assert found.labels == {"anger": 120, "joy": 120}
    assert found.label_names == ["anger", "joy"]
    assert found.estimates is not None
    assert 0 < found.estimates.seconds_per_trial < 60
    assert found.estimates.memory_bytes > 1_000_000


@pytest.mark.full
def test_an_inspected_process_trains_like_a_fresh_one(assign: Assign, tmp_path: Path) -> None:
    warm, first, second = ModelCache(), Memory(tmp_path / "1"), Memory(tmp_path / "2")
    inspection = inspect(assign(AssignmentKind.INSPECT), first, warm)
    train(assign(inspection=inspection), first, warm)
    train(assign(inspection=inspection), second, ModelCache())
    assert first.metrics == second.metrics


def test_more_evaluations_than_steps_are_refused(assign: Assign, session: Memory) -> None:
    spec = {"space": {"batch_size": [8, 128], "epochs": 2}, "evaluations_per_epoch": 3}
    with pytest.raises(BadData, match="168 training rows in batches of 128") as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert refused.value.path == ["evaluations_per_epoch"]


def test_dropout_is_refused_for_a_model_that_has_none(assign: Assign, session: Memory, tmp_path: Path) -> None:
    spec = {
        "task": "image-classification",
        "model": str(ARCHITECTURES["resnet"].build(tmp_path / "model")),
        "dataset": {"source": str(tiny_data("image-classification", tmp_path / "data")), "validation": 0.2},
    }
    for dropout in (0.1, [-1, 0.1], {"low": 0, "high": 0.5}):
        with pytest.raises(BadData, match="no dropout layer") as refused:
            inspect(assign(AssignmentKind.INSPECT, spec=spec | {"space": {"dropout": dropout}}), session, ModelCache())
        assert refused.value.path == ["space", "dropout"]
    for space in ({"dropout": -1}, {"dropout": [0.0, 0.1], "strategy": "lora"}, {"learning_rate": 1e-3}):
        assert inspect(assign(AssignmentKind.INSPECT, spec=spec | {"space": space}), session, ModelCache()).blocks


def test_sentence_pairs_and_a_decoder_without_padding_token(assign: Assign, tmp_path: Path, model: Path) -> None:
    """The label tells whether two sentences are of one kind: only a model that sees both can know."""
    lines = []
    for (text, label), (other, kind) in zip(tiny_rows(80), tiny_rows(80, seed=3)[1:] + tiny_rows(1), strict=True):
        lines.append({"a": text, "b": other, "same": label == kind})
        lines.append({"a": text, "b": text, "same": True})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    folder = tmp_path / "gpt2"
    config = transformers.GPT2Config(n_embd=32, n_head=2, n_layer=2, vocab_size=128, n_positions=64, bos_token_id=2,
                                     eos_token_id=3)  # fmt: skip
    transformers.GPT2Model(config).save_pretrained(folder)
    shutil.copy(model / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "[SEP]", "model_max_length": 64}'
    )
    columns = {"text": "a", "text_pair": "b", "label": "same"}
    spec = {"model": str(folder), "dataset": {"source": str(tmp_path / "pairs.jsonl"), "columns": columns}}
    session, warm = Memory(tmp_path / "s"), ModelCache()
    assert train(assign(spec=spec, params={"epochs": 1}), session, warm).status == "complete"
    opened = warm.open(assign(spec=spec))
    assert opened.pretrained.processor.pad_token == "[SEP]"
    assert opened.pretrained.model.config.pad_token_id == 3
    encoded = opened.encoded("train", 128)
    assert encoded.longest > 12
    assert max(max(ids) for ids in encoded.columns["input_ids"]) < 128


@pytest.mark.full
def test_three_classes(assign: Assign, tmp_path: Path) -> None:
    spec = {"dataset": {"source": str(tiny_csv(tmp_path / "three.csv", rows=360, classes=3))}}
    session, warm = Memory(tmp_path / "s"), ModelCache()
    train(assign(spec=spec), session, warm)
    assert warm.open(assign(spec=spec)).data.label_names == sorted(LABELS)
    assert session.metrics[-1]["accuracy"] > 0.6


def broken(name: str, folder: Path) -> None:
    """Make `folder`, a copy of the tiny model, unusable in the way `name` says."""
    config = json.loads((folder / "config.json").read_text())
    if name == "no weights":
        (folder / "model.safetensors").unlink()
    elif name == "pickled weights only":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif name == "remote code":
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    elif name == "remote tokenizer":
        (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    elif name == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif name == "no config":
        (folder / "config.json").unlink()
    elif name == "broken config":
        (folder / "config.json").write_text("{")
    elif name == "unknown kind":
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "nonesuch"}))
    elif name == "broken weights":
        (folder / "model.safetensors").write_bytes(b"nothing")
    elif name == "foreign weights":
        save_file({"some.weight": torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})
    elif name == "missing shard":
        (folder / "model.safetensors").rename(folder.parent / "model.safetensors")  # there, and no part of it
        index = {"weight_map": {"a": "../model.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no weights", "holds no weights"),
        ("pickled weights only", "pickled weights only"),
        ("remote code", "auto_map in config.json"),
        ("remote tokenizer", "auto_map in tokenizer_config.json"),
        ("no tokenizer", "no tokenizer"),
        ("no config", "no config.json"),
        ("broken config", "is no JSON: line 1, column 2"),
        ("unknown kind", "of the type nonesuch, which transformers .* does not know"),
        ("broken weights", "is no safetensors file"),
        ("foreign weights", "fit no layer"),
        ("missing shard", "lacks the weights file"),
    ],
)
def test_models_that_cannot_be_used_are_refused(
    assign: Assign, session: Memory, tmp_path: Path, model: Path, name: str, said: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(model, folder)
    broken(name, folder)
    with pytest.raises(BadData, match=said) as refused:
        inspect(assign(AssignmentKind.INSPECT, spec={"model": str(folder)}), session, ModelCache())
    assert refused.value.path == ["model"]
    assert str(folder) in refused.value.message


def test_models_elsewhere_are_refused(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, said in ((str(model / "config.json"), "is a file"), ("nobody/such-model", "neither a folder")):
        with pytest.raises(BadData, match=said):
            model_folder(wrong)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path))
    with pytest.raises(BadData, match="LUTHIER_DATA_ROOTS"):
        model_folder(str(model))
    copy = tmp_path / "linked"
    shutil.copytree(model, copy)
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to(model / "model.safetensors")
    with pytest.raises(BadData, match="LUTHIER_DATA_ROOTS"):
        model_folder(str(copy))
