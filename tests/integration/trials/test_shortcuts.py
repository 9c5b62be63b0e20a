"""What a trial leaves out computing changes nothing: tokens that no head looks at, embeddings that no example uses."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.train import train
from luthier.trials.prefix.shortcuts import Shortcut
from luthier.trials.training import checkpoint, progress, setup
from luthier.trials.training.compact_embeddings import CompactEmbedding, compact_embeddings
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.setup import prepare
from tests.support.task_study import Study, study
from tests.support.tiers import a_few
from tests.support.trials import Memory
from tests.support.zoo import ZOO
from tests.support.zoo.inputs import VOCABULARY, collate

__all__ = ["study"]  # the fixture

Assign = Callable[..., Assignment]
Gradients = dict[str, torch.Tensor]
FIRST_TOKEN = {"bert", "roberta", "distilbert", "electra", "vit"}  # whose heads look at it alone
ANSWER_FOR_ALL = re.compile("-(numbers|labels)$")
OF_TASK = re.compile("^tied-|-(tokens|questions|writes|numbers|labels)$")
UNPADDED = {"bert", "roberta", "distilbert", "electra", "modernbert", "gpt2", "llama", "qwen2", "qwen3", "opt"}


def gradients(opened: OpenStudy, work: Assignment, session: Memory | None) -> tuple[float, Gradients, Shortcut]:
    """Loss and gradients of a batch, and what was left out; nothing is dropped."""
    model, backbone = prepare(opened, work.params | {"dropout": 0.0}, 0)
    encoded = opened.encoded("train", int(work.params["max_length"]))
    computer = Engine(model, opened.task, MicroBatch(), opened.loss(encoded, work.params))
    if session is not None:
        computer.enable_shortcuts(opened, work.params, {"train": encoded}, session)
    backbone.train_mode()
    model.eval()
    loss = computer.gradient(encoded, range(8))
    computer.close()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return float(loss), found, computer.shortcut


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_the_last_blocks_other_tokens_are_not_missed(
    study: Study, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    name = request.node.callspec.params["study"]
    opened = study.warm.open(study.work(0))
    for depth in (0, study.architecture.blocks - 1):
        loss, whole, _ = gradients(opened, study.work(depth), None)
        same_loss, short, shortcut = gradients(opened, study.work(depth), Memory(tmp_path / "s"))
        by_first_token = ANSWER_FOR_ALL.sub("", name) in FIRST_TOKEN
        assert (shortcut.first_token is not None) == by_first_token
        blocks = len(opened.backbone.blocks) - depth - by_first_token
        varied = len(set(opened.encoded("train", int(study.work(0).params["max_length"])).lengths)) > 1
        assert len(shortcut.unpadded) == (blocks if varied and OF_TASK.sub("", name) in UNPADDED else 0)
        assert same_loss == pytest.approx(loss, abs=1e-5)
        assert short.keys() == whole.keys()
        for key, gradient in whole.items():
            assert torch.allclose(gradient, short[key], atol=1e-4 * max(1.0, float(gradient.abs().max()))), key


def without_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "compact_embeddings", lambda *_: None)


@pytest.mark.full
@pytest.mark.parametrize(
    "params",
    a_few(
        1,
        [
            {"weight_decay": 0.3, "epochs": 2},
            {},
            {"weight_decay": 0.0, "optimizer": "sgd"},
            {"weight_decay": 0.3, "epochs": 2, "strategy": "gradual"},
        ],
    ),
)
def test_embeddings_that_no_example_uses_come_out_as_if_trained(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, object]
) -> None:
    params = {"learning_rate": 1e-2, "layer_decay": 0.9} | params
    short, whole = Memory(tmp_path / "short"), Memory(tmp_path / "whole")
    weights = []
    for session in (short, whole):
        warm = ModelCache()
        train(assign(params=params), session, warm)
        best = Checkpoint(best=file_ref(session.named("best")))
        winner = assign(AssignmentKind.EVALUATE, params=params, checkpoint=best)
        evaluate(winner, session, warm)
        opened = warm.open(winner)
        weights.append({name: p.detach().clone() for name, p in opened.pretrained.model.named_parameters()})
        without_compaction(monkeypatch)
    assert short.named("best").stat().st_size < 0.9 * whole.named("best").stat().st_size
    for mine, theirs in zip(short.metrics, whole.metrics, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    embeddings = next(name for name in weights[0] if "word_embeddings" in name)
    assert weights[0][embeddings].shape == weights[1][embeddings].shape
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-4), name


@pytest.mark.parametrize(
    "params", [{"optimizer": "adam", "weight_decay": 0.1}, {"l1": 1e-4}, {"freeze_depth": 1}, {"strategy": "lora"}]
)
def test_where_leaving_embeddings_out_would_change_or_save_nothing_all_are_trained(
    assign: Assign, params: dict[str, object]
) -> None:
    work = assign(params=params)
    opened = ModelCache().open(work)
    model, _ = prepare(opened, work.params, 0)
    assert compact_embeddings(model, [opened.encoded("train", 64)], work.params) is None
    assert isinstance(compact_of(assign), CompactEmbedding)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5"])
def test_a_model_that_generates_keeps_its_whole_table(name: str) -> None:
    task = "text2text-generation" if name == "T5" else "text-generation"
    model, encoded = ZOO[task][name].build(), ZOO[task][name].encoded()
    few = replace(encoded, columns=encoded.columns | {"input_ids": [[3] * length for length in encoded.lengths]})
    params = {"optimizer": "adamw", "weight_decay": 0.0, "l1": 0.0, "strategy": "full"}
    assert compact_embeddings(model, [few], params) is None
    assert model(**collate(few, [0, 1])).logits.shape[-1] == VOCABULARY


def compact_of(assign: Assign) -> CompactEmbedding | None:
    work = assign()
    opened = ModelCache().open(work)
    model, _ = prepare(opened, work.params, 0)
    return compact_embeddings(model, [opened.encoded("train", 64)], work.params)


@pytest.mark.full
def test_a_file_for_a_resume_is_written_once_it_is_worth_its_time(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, seldom = Memory(tmp_path / "often"), Memory(tmp_path / "seldom")
    monkeypatch.setattr(progress, "RESUME_COSTS", 0)
    train(assign(params={"epochs": 4}), often, ModelCache())
    monkeypatch.setattr(progress, "RESUME_COSTS", 1e9)
    train(assign(params={"epochs": 4}), seldom, ModelCache())
    assert [told["resume"] is not None for told in often.reports] == [True, True, True, False]
    assert not any(told["resume"] for told in seldom.reports)
    assert often.metrics == seldom.metrics


def test_a_checkpoint_of_other_rows_is_refused(assign: Assign) -> None:
    work = assign()
    opened = ModelCache().open(work)
    model, _ = prepare(opened, work.params, 0)
    tensors = checkpoint.trained_tensors(model)
    name = next(name for name in tensors if "word_embeddings" in name)
    with pytest.raises(ValueError, match="not those this configuration trains"):
        checkpoint.load_trained(model, tensors | {name: nn.Parameter(tensors[name][:5])})
