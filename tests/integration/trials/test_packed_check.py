"""A packed model is loaded again in a fresh process: what was lost in packing is found before anybody gets it."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from luthier.studies.protocol import Assignment, AssignmentKind, Decision, Reason
from luthier.trials.child.__main__ import perform
from luthier.trials.errors import Ended, NotReproduced
from luthier.trials.jobs import packed_model, reload
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.task_study import make_study
from tests.support.trials import Memory
from tests.support.waiting import until

Assign = Callable[..., Assignment]
WEIGHTS = "model.safetensors"


def with_config(folder: Path, file: str = "config.json", **changed: Any) -> None:
    config = json.loads((folder / file).read_text()) | changed
    (folder / file).write_text(json.dumps(config))


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})


def without(*names: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key not in names}


def leave_an_adapter(folder: Path) -> None:
    """Write an adapter beside the model, as one that was trained and never merged."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], init_lora_weights=False))
    adapted.save_pretrained(folder.parent / "adapter")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(folder.parent / "adapter" / file, folder)


SABOTAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "config lost": (
        lambda f: (f / "config.json").unlink(),
        "its configuration or its weights cannot be loaded .*config.json",
    ),
    "labels swapped": (
        lambda f: with_config(f, id2label={0: "joy", 1: "anger"}, label2id={"joy": 0, "anger": 1}),
        "a fresh process predicts otherwise: '(anger|joy)' has 0[.]",
    ),
    "labels lost": (lambda f: with_config(f, id2label=None), "its labels are others: 'LABEL_0', 'LABEL_1' instead of"),
    "sigmoid": (lambda f: with_config(f, problem_type="multi_label_classification"), "predicts otherwise"),
    "head dropped": (
        lambda f: with_weights(f, without("classifier.weight", "classifier.bias")),
        "not whole: its file lacks classifier.bias, classifier.weight",
    ),
    "tensor renamed": (
        lambda f: with_weights(f, lambda t: {key.replace("layer.1.", "layer.7."): x for key, x in t.items()}),
        "its file lacks bert.encoder.layer.1.attention.* and 13 more",
    ),
    "embeddings dropped as tied": (
        lambda f: with_weights(f, without("bert.embeddings.word_embeddings.weight")),
        "its file lacks bert.embeddings.word_embeddings.weight",
    ),
    "head of another shape": (
        lambda f: with_weights(
            f, lambda t: t | {"classifier.bias": torch.zeros(3), "classifier.weight": torch.ones(3, 32)}
        ),
        "not whole: its file has in another shape classifier.bias, classifier.weight",
    ),
    "tokenizer lost": (
        lambda f: [file.unlink() for file in f.glob("tokenizer*")],
        "a fresh process (cannot use it|predicts otherwise): ",
    ),
    "longest input lost": (
        lambda f: with_config(f, "tokenizer_config.json", model_max_length=64),
        "predicts otherwise: .* for number 1 of the 36 test rows",
    ),
    "adapter left": (leave_an_adapter, "but adapter_config.json and adapter_model.safetensors lie beside its"),
    "stored in half": (
        lambda f: (with_weights(f, lambda t: {k: x.half() for k, x in t.items()}), with_config(f, dtype="float16")),
        "cannot use it: its weights are float16, not float32",
    ),
    "rounded": (
        lambda f: with_weights(f, lambda t: {key: x.bfloat16() for key, x in t.items()}),
        "cannot use it: its weights are bfloat16, not float32",
    ),
    "loaded in bfloat16": (
        lambda f: with_config(f, dtype="bfloat16"),
        "cannot use it: its weights are bfloat16, not float32",
    ),
}
MARKS: dict[str, Any] = {"labels lost": (), "head dropped": (pytest.mark.fresh_process, pytest.mark.full)}
"""One in each tier: the second in a process of its own, as in use; all others in this one, with the same function."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=MARKS.get(n, pytest.mark.full)) for n in SABOTAGE],
)
def test_what_is_lost_in_packing_fails_the_evaluation(
    assign: Assign, session: Memory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spoil, said = SABOTAGE[name]
    params = {"epochs": 1, "max_length": 7}
    train(assign(params=params), session, ModelCache())
    write = packed_model.write

    def spoiled(*args: Any) -> None:
        write(*args)
        spoil(args[-1])

    monkeypatch.setattr(packed_model, "write", spoiled)
    work = assign(AssignmentKind.EVALUATE, params=params, checkpoint=session.checkpoint())
    with pytest.raises(NotReproduced, match=said) as refused:
        evaluate(work, session, ModelCache())
    assert str(refused.value).endswith("Resume the study to measure and pack the winner again; its weights are kept.")
    assert not (session.folder / packed_model.NAME).exists()
    assert [file.name for file in session.folder.iterdir() if file.name.startswith(".")] == []
    assert session.named("best").is_file()


@pytest.mark.full
@pytest.mark.parametrize("name", ["vit", "wav2vec2"])
def test_a_lost_preprocessor_fails_the_evaluation(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    study = make_study(name, tmp_path, assign)
    session = study.trial(0)
    write = packed_model.write

    def spoiled(*args: Any) -> None:
        write(*args)
        (args[-1] / "preprocessor_config.json").unlink()

    monkeypatch.setattr(packed_model, "write", spoiled)
    work = study.work(0, AssignmentKind.EVALUATE, checkpoint=session.checkpoint())
    with pytest.raises(NotReproduced, match=r"use it: its (image processor|feature extractor) cannot be loaded"):
        evaluate(work, session, study.warm)


def test_a_difference_is_told_as_a_sentence(assign: Assign, session: Memory) -> None:
    def fails(*_: Any) -> Any:
        raise NotReproduced("The winner was packed, but its labels are others. Resume the study.")

    result, replace = perform(fails, assign(AssignmentKind.EVALUATE), session, ModelCache())
    assert (result.status, result.reason, replace) == ("failed", Reason.ERROR, False)
    assert result.problem is not None
    assert result.problem.message == "The winner was packed, but its labels are others. Resume the study."
    assert session.lines == []


@pytest.mark.fresh_process
@pytest.mark.full
def test_the_check_is_logged_and_weights_are_what_they_were(assign: Assign, session: Memory, tmp_path: Path) -> None:
    warm = ModelCache()
    train(assign(), session, warm)
    evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint()), session, warm)
    assert "its predictions for 36 test rows are the recorded ones (to " in session.lines[-1]
    unpack_tar(session.folder / "model.tar.gz", tmp_path / "packed")
    tensors = load_file(tmp_path / "packed" / WEIGHTS)
    model = warm.open(assign()).pretrained.model
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in tensors.items())
    assert warm.open(assign()).pretrained.processor.model_max_length == 64  # later trials may read longer texts


def sleeper(pid: Path) -> tuple[str, ...]:
    code = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    return (sys.executable, "-c", code)


@pytest.mark.fresh_process
def test_the_process_ends_with_the_assignment(session: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        if (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text():
            raise Ended(Decision.CANCEL)

    monkeypatch.setattr(reload, "COMMAND", sleeper(tmp_path / "pid"))
    monkeypatch.setattr(session, "poll", stop)
    with pytest.raises(Ended):
        reload._run(tmp_path, session)
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


@pytest.mark.fresh_process
def test_the_process_has_a_time_limit(session: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "COMMAND", sleeper(tmp_path / "pid"))
    monkeypatch.setattr(reload, "LONGEST_SECONDS", 0.5)
    assert reload._run(tmp_path, session) == "it gave no answer within 0 s"
    assert session.polls > 3


@pytest.mark.fresh_process
def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    """Its request never comes, so it waits; the end of its standard input ends it."""
    os.mkfifo(tmp_path / "request.json")
    with subprocess.Popen([*reload.COMMAND, str(tmp_path)], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        until(lambda: process.poll() is not None, 20)
        assert process.returncode == 1
