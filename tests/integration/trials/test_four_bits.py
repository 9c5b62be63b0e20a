"""Weights in four bits below adapters: refused without a GPU; the winner has the weights that come back of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.model import four_bits, lora
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import prepare
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.logits import logits_of
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
SPEC = {"quantization": "4bit", "space": {"strategy": "lora", "epochs": 2}}
LORA = {"strategy": "lora", "learning_rate": 1e-2}


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bitsandbytes compute on the CPU, which it can, slowly; it is no dependency of the tests."""
    modules = pytest.importorskip("bitsandbytes.nn.modules")
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)  # a form of the weights that only CPUs have
    monkeypatch.setattr(four_bits, "_has_gpu", lambda: True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_worker_without_a_gpu_refuses_with_the_cure(assign: Assign, session: Memory) -> None:
    with pytest.raises(BadData, match=r"^4bit needs a GPU, and this worker computes on the CPU: run") as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=SPEC), session, ModelCache())
    assert refused.value.path == ["quantization"]


def test_without_the_library_the_cure_is_named(
    assign: Assign, session: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(four_bits, "_has_gpu", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BadData, match=r"^4bit needs .*pip install 'luthier\[qlora\]'") as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=SPEC), session, ModelCache())
    assert refused.value.path == ["quantization"]


@pytest.mark.full
@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
@pytest.mark.parametrize("name", ["bert", "modernbert", "llama", "whisper"])
def test_a_merged_model_computes_what_rounded_weights_and_adapters_did(
    assign: Assign, tmp_path: Path, name: str, targets: str, variant: str
) -> None:
    architecture = ARCHITECTURES[name]
    data = {"source": str(tiny_data(architecture.task, tmp_path / "data")), "validation": 0.2, "test": 0.2}
    spec = SPEC | {"task": architecture.task, "model": str(architecture.build(tmp_path / "model")), "dataset": data}
    params = LORA | {"lora_variant": variant, "lora_targets": targets, "freeze_depth": 1}
    work, warm = assign(spec=spec, params=params), ModelCache()
    opened = warm.open(work)
    modules = [id(module) for module in opened.pretrained.model.modules()]
    adapted, backbone = prepare(opened, work.params, 3, "4bit")
    kinds = [type(module).__name__ for block in backbone.blocks for module in block.modules()]
    assert kinds.count("Linear4bit") >= 2
    torch.manual_seed(0)
    for key, parameter in adapted.named_parameters():
        if ".lora_B." in key:
            nn.init.normal_(parameter, std=0.1)
    rows = opened.encoded("test", 128)
    engine = Engine(adapted, opened.task, warm.micro_batch, opened.loss(rows, work.params))
    backbone.train_mode()
    engine.gradient(rows, list(range(len(rows))))
    assert all(p.grad is not None for key, p in adapted.named_parameters() if ".lora_" in key)
    expected = logits_of(engine, opened, rows)
    lora.merge(opened.pretrained)
    scale = float(expected.abs().max())
    torch.testing.assert_close(logits_of(engine, opened, rows), expected, rtol=0, atol=1e-4 * scale)
    plain = opened.pretrained.reset(3)
    assert [id(module) for module in plain.modules()] == modules
    own, fresh = dict(plain.named_parameters()), opened.pretrained.fresh
    pristine = {key: tensor for key, tensor in opened.pretrained.pristine.items() if key in own and key not in fresh}
    assert all(torch.equal(own[key], tensor) for key, tensor in pristine.items())


@pytest.mark.full
@pytest.mark.usefixtures("on_the_cpu")
def test_a_trial_learns_resumes_exactly_and_its_winner_is_packed(assign: Assign, tmp_path: Path) -> None:
    given: dict[str, Any] = {"params": LORA | {"epochs": 5, "freeze_depth": 1}, "spec": SPEC}
    whole, first, second = (Memory(tmp_path / name) for name in ("whole", "first", "first"))
    train(assign(**given), whole, ModelCache())
    assert max(metrics["accuracy"] for metrics in whole.metrics) > 0.8
    first.decide = lambda step: Decision.STOP if step == 2 else Decision.CONTINUE
    with pytest.raises(Ended):
        train(assign(**given), first, ModelCache())
    train(assign(**given, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics
    plain = Memory(tmp_path / "plain")
    train(assign(params=given["params"]), plain, ModelCache())
    assert plain.metrics != whole.metrics
    work = assign(AssignmentKind.EVALUATE, **given, checkpoint=whole.checkpoint())
    assert evaluate(work, whole, ModelCache()).test is not None


@pytest.mark.full
@pytest.mark.usefixtures("on_the_cpu")
def test_a_model_without_linear_layers_is_refused(assign: Assign, session: Memory, tmp_path: Path) -> None:
    resnet = ARCHITECTURES["resnet"]
    data = {"source": str(tiny_data(resnet.task, tmp_path / "data"))}
    spec = SPEC | {"task": resnet.task, "model": str(resnet.build(tmp_path / "model")), "dataset": data}
    with pytest.raises(BadData, match="no linear layer, so quantization changes nothing"):
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
