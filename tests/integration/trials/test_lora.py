"""Low-rank adapters: a trial learns, resumes exactly, leaves no trace, and its winner is a plain model."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from torch import nn

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.space import Space
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.model import lora
from luthier.trials.model.adapter_sites import check_targets
from luthier.trials.model.backbone import Backbone
from luthier.trials.training import optim
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import prepare
from tests.support.architectures import ARCHITECTURES, TIMM, of_models, tiny_data
from tests.support.archives import unpack_tar
from tests.support.logits import logits_of
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
LORA = {"strategy": "lora", "learning_rate": 1e-2}


def keys(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


@pytest.mark.full
def test_it_learns_with_adapters_and_head_alone(assign: Assign, session: Memory) -> None:
    warm = ModelCache()
    finished = train(assign(params=LORA | {"freeze_depth": 1, "epochs": 6}), session, warm)
    assert finished.status == "complete"
    assert session.metrics[-1]["accuracy"] > 0.8
    for kind in ("best", "resume"):
        names = {n.removeprefix("model.") for n in keys(session.named(kind)) if not n.startswith("optimizer.")}
        adapters = {name for name in names if ".lora_" in name}
        assert adapters
        assert all(name.startswith("bert.encoder.layer.1.") for name in adapters)
        assert {"classifier.weight", "classifier.bias"} <= names
        assert not any(".base_layer." in name or name.endswith("embeddings.weight") for name in names)


@pytest.mark.full
def test_strategies_take_turns_in_one_process_and_score_as_if_alone(assign: Assign, tmp_path: Path) -> None:
    """What a process keeps of a model (modules, caches) was seen with adapters or without, and holds for both."""
    alone: dict[tuple[str, int], Any] = {}
    for strategy, depth in (("full", 1), ("lora", 1), ("lora", 0), ("full", 0)):
        session = Memory(tmp_path / f"{strategy}{depth}")
        train(assign(params=LORA | {"strategy": strategy, "freeze_depth": depth, "epochs": 1}), session, ModelCache())
        alone[strategy, depth] = session.metrics
    for number, turn in enumerate((list(alone), list(alone)[::-1])):
        warm = ModelCache()
        for strategy, depth in turn:
            session = Memory(tmp_path / f"{number}{strategy}{depth}")
            train(assign(params=LORA | {"strategy": strategy, "freeze_depth": depth, "epochs": 1}), session, warm)
            assert session.metrics == alone[strategy, depth], (strategy, depth)


@pytest.mark.full
def test_a_model_is_the_pretrained_one_after_adapters(assign: Assign, tmp_path: Path) -> None:
    warm = ModelCache()
    full, cold, again = Memory(tmp_path / "full"), Memory(tmp_path / "cold"), Memory(tmp_path / "again")
    train(assign(params=LORA | {"epochs": 1, "dropout": 0.3}), full, warm)
    train(assign(params={"epochs": 1}), again, warm)
    train(assign(params={"epochs": 1}), cold, ModelCache())
    assert again.metrics == cold.metrics
    one, other = warm.open(assign()).pretrained, ModelCache().open(assign()).pretrained
    one.reset(3)
    other.reset(3)
    found, expected = dict(one.model.named_parameters()), dict(other.model.named_parameters())
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [type(m) for m in one.model.modules()] == [type(m) for m in other.model.modules()]


@pytest.mark.full
@pytest.mark.parametrize("stop", a_few(1, [3, 1]))
def test_a_resumed_trial_goes_on_as_if_never_interrupted(assign: Assign, tmp_path: Path, stop: int) -> None:
    given = {"params": LORA | {"epochs": 2, "dropout": 0.1, "layer_decay": 0.9}, "spec": {"evaluations_per_epoch": 2}}
    whole, folder = Memory(tmp_path / "whole"), tmp_path / "parts"
    train(assign(**given), whole, ModelCache())
    first = Memory(folder, lambda step: Decision.STOP if step == stop else Decision.CONTINUE)
    warm = ModelCache()
    with pytest.raises(Ended):
        train(assign(**given), first, warm)
    second = Memory(folder)
    train(assign(**given, attempt=2, checkpoint=first.checkpoint()), second, warm)
    assert first.metrics + second.metrics == whole.metrics


@pytest.mark.parametrize("depth", a_few(1, [0, 2]))
def test_the_winner_is_a_plain_model_that_computes_the_same(
    assign: Assign, session: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    warm, params = ModelCache(), LORA | {"freeze_depth": depth}
    work = assign(params=params)
    train(work, session, warm)
    opened = warm.open(work)
    engine = Engine(opened.pretrained.model, opened.task, warm.micro_batch)
    adapted = logits_of(engine, opened, opened.encoded("test", 128))
    evaluation = evaluate(
        assign(AssignmentKind.EVALUATE, params=params, checkpoint=session.checkpoint()), session, ModelCache()
    )
    unpack_tar(session.folder / "model.tar.gz", tmp_path / "model")
    folder = tmp_path / "model"
    assert not any("lora" in key or "base_layer" in key for key in keys(folder / "model.safetensors"))
    assert {file.name for file in folder.iterdir()} & {"adapter_config.json", "adapter_model.safetensors"} == set()
    monkeypatch.setitem(sys.modules, "peft", None)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    test = opened.data.splits["test"]
    with torch.no_grad():
        logits = model(**tokenizer(test.columns["text"], padding=True, return_tensors="pt")).logits
    if session.named("best").name.startswith("a1-s3"):  # what the warm model holds is the last evaluation's
        torch.testing.assert_close(logits, adapted, rtol=1e-4, atol=1e-4)
    assert evaluation.test is not None
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(test.targets))
    assert evaluation.test["loss"] == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("name", of_models())
def test_every_architecture_is_adapted_above_the_freeze_depth_merged_and_put_back(
    assign: Assign, tmp_path: Path, name: str
) -> None:
    architecture = (ARCHITECTURES | TIMM)[name]
    data = {"source": str(tiny_data(architecture.task, tmp_path / "data")), "validation": 0.2, "test": 0.2}
    model = str(architecture.build(tmp_path / "model"))
    depth = architecture.blocks // 2
    params = LORA | {"freeze_depth": depth}
    work, warm = assign(spec={"task": architecture.task, "model": model, "dataset": data}, params=params), ModelCache()
    opened = warm.open(work)
    before = [id(module) for module in opened.pretrained.model.modules()]
    lora.check(opened.backbone, Space.model_validate({"strategy": "lora"}), model)
    adapted, backbone = prepare(opened, work.params, seed=3)
    above = tuple(f"{block}." for block in backbone.names[depth:])
    trained = {key: p for key, p in adapted.named_parameters() if p.requires_grad}
    assert all(".lora_" in key and key.startswith(above) for key in trained if key not in backbone.unfrozen)
    for block in above:
        assert any(key.startswith(block) for key in trained)
    groups = optim.parameter_groups(adapted, backbone.layers, backbone.depth + 1, work.params | {"layer_decay": 0.5})
    assert {group["scale"] for group in groups} >= {0.5**k for k in range(1, backbone.depth - depth + 1)}

    torch.manual_seed(0)
    for key, parameter in trained.items():
        if ".lora_B." in key:  # zero at first: an adapter changes nothing before it is trained
            torch.nn.init.normal_(parameter, std=0.05)
    rows = opened.encoded("test", 128)
    computer = Engine(adapted, opened.task, warm.micro_batch, opened.loss(rows, work.params))
    for module in adapted.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of an untrained model's first batch, or its logits are all but zero
    adapted.train()
    computer.gradient(rows, list(range(len(rows))))
    expected = logits_of(computer, opened, rows)
    lora.merge(opened.pretrained)
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(logits_of(computer, opened, rows), expected, rtol=0, atol=1e-4 * scale)
    plain = opened.pretrained.reset(3)
    assert [id(module) for module in plain.modules()] == before
    own = dict(plain.named_parameters()) | dict(plain.named_buffers())
    fresh = opened.pretrained.fresh
    assert all(torch.equal(own[key], tensor) for key, tensor in opened.pretrained.pristine.items() if key not in fresh)


def test_without_peft_the_cure_is_named(assign: Assign, session: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    spec = {"space": {"strategy": ["full", "lora"]}}
    with pytest.raises(BadData, match=r"pip install 'luthier\[lora\]'") as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert refused.value.path == ["space", "strategy"]
    assert (
        inspect(assign(AssignmentKind.INSPECT, spec={"space": {"strategy": "full"}}), session, ModelCache()).estimates
        is not None
    )


def test_blocks_without_a_layer_to_adapt_are_refused() -> None:
    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.LayerNorm(8) for _ in range(3)])

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model, self.head = Norms(), nn.Linear(8, 2)

    with pytest.raises(BadData, match=r"base_model.layers.0 of the model has no layer") as refused:
        check_targets(Backbone.find(Model()), "all-linear", "tiny", ("space", "lora_targets"))
    assert refused.value.path == ["space", "strategy"]


def test_a_study_of_adapters_is_inspected_with_them(assign: Assign, session: Memory) -> None:
    warm = ModelCache()
    found = inspect(
        assign(AssignmentKind.INSPECT, spec={"space": {"strategy": "lora", "dropout": [0.0, 0.1]}}), session, warm
    )
    assert found.estimates is not None
    assert found.trainable_parameters == inspect(assign(AssignmentKind.INSPECT), session, warm).trainable_parameters


def test_blocks_may_be_layers_themselves() -> None:
    """As the convolutions of a VGG are."""

    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model, self.head = Convolutions(), nn.Linear(4, 2)

    backbone = Backbone.find(Model())
    assert backbone.names == ["base_model.features.0", "base_model.features.2"]
    lora.check(backbone, Space.model_validate({"strategy": "lora"}), "vgg")
