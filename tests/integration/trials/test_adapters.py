"""Adapters as a search: ranks, variants and targets do what they say, for every kind of layer, and merge exactly."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors import safe_open
from torch import nn

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.space import Space
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.model import lora
from luthier.trials.model.adapter_sites import check_targets, sites, targeted
from luthier.trials.model.auto_classes import auto_classes
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.strategy_reach import check_reach
from luthier.trials.training import optim
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import prepare
from tests.support.architectures import ARCHITECTURES, in_turn, tiny_data
from tests.support.archives import unpack_tar
from tests.support.logits import logits_of
from tests.support.tiers import a_few
from tests.support.tiny import tiny_model
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
LORA = {"strategy": "lora", "learning_rate": 1e-2}
DORA = LORA | {"lora_variant": "dora", "lora_rank": 3, "lora_alpha": 5, "lora_targets": "attention,intermediate"}
FEED_FORWARD = ("mlp", "ffn", "feed_forward", "intermediate", "fc1", "fc2", "squeeze_excite", "pwconv", "convolution")
WITHOUT_ATTENTION = {"resnet", "convnext", "mobilenet-v2", "mobilenet-v2-pixels", "efficientnet"}

CLASSIFIERS = {"text-classification", "image-classification", "audio-classification"}


def backbone_of(name: str) -> Backbone:
    architecture = ARCHITECTURES[name]
    return Backbone.find(auto_classes(architecture.task)[0].from_config(architecture.config()))


def layers_of(backbone: Backbone, targets: str) -> list[str]:
    return [site.path for number in range(1, backbone.depth + 1) for site in targeted(backbone, number, targets)]


@pytest.mark.parametrize("name", in_turn(name for name, found in ARCHITECTURES.items() if found.task in CLASSIFIERS))
def test_attention_is_found_in_every_architecture_that_has_one(name: str) -> None:
    backbone = backbone_of(name)
    if name in WITHOUT_ATTENTION | {"wavlm"}:  # WavLM's own code reads the weights of its projections
        with pytest.raises(BadData, match="no attention with layers that an adapter fits: name some of") as refused:
            check_targets(backbone, "attention", name, ("space", "lora_targets"))
        assert refused.value.path == ["space", "lora_targets"]
        return
    check_targets(backbone, "attention", name, ("space", "lora_targets"))
    for number in range(1, backbone.depth + 1):
        found = {site.path for site in targeted(backbone, number, "attention")}
        others = {site.path for site in sites(backbone, number)} - found
        assert len(found) >= 2, "queries, keys and values in one layer or several, and the output"
        assert not any(part in path for path in found for part in FEED_FORWARD)
        assert others
        assert all(any(part in path for part in FEED_FORWARD) or path == "output.dense" for path in others)


def test_names_mean_layers_or_modules_that_hold_them() -> None:
    bert = backbone_of("bert")
    assert layers_of(bert, "query,value") == ["attention.self.query", "attention.self.value"] * 3
    assert layers_of(bert, "self.key") == ["attention.self.key"] * 3
    assert layers_of(bert, "dense") == ["attention.output.dense", "intermediate.dense", "output.dense"] * 3
    assert layers_of(bert, "attention,intermediate") == layers_of(bert, "attention.self,attention.output,intermediate")
    assert layers_of(bert, "all-linear") == [site.path for n in (1, 2, 3) for site in sites(bert, n)]
    assert layers_of(bert, "quer") == []


def test_a_name_that_no_layer_has_is_refused_with_those_that_there_are(assign: Assign, session: Memory) -> None:
    spec = {"space": {"strategy": ["full", "lora"], "lora_targets": ["attention", "query,q_proj"]}}
    with pytest.raises(
        BadData, match=r"no layer called q_proj .*attention\.self\.query, .*intermediate\.dense"
    ) as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert refused.value.path == ["space", "lora_targets", 1]
    spec = {"space": {"strategy": "lora", "lora_targets": "LayerNorm"}}  # it exists, and no adapter fits it
    with pytest.raises(BadData, match="no layer called LayerNorm that an adapter fits") as refused:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert refused.value.path == ["space", "lora_targets"]


@pytest.mark.parametrize(
    ("space", "path", "said"),
    [
        (
            {"strategy": "lora", "freeze_depth": "auto"},
            ["strategy"],
            "lora changes nothing, since all trials freeze 2 bl",
        ),
        (
            {"strategy": ["full", "gradual"], "freeze_depth": 2},
            ["strategy"],
            "gradual changes nothing, since all trials",
        ),
    ],
)
def test_a_strategy_that_no_trial_leaves_a_block_is_refused(
    space: dict[str, Any], path: list[str | int], said: str, assign: Assign, session: Memory
) -> None:
    with pytest.raises(BadData, match=said) as refused:
        inspect(
            assign(AssignmentKind.INSPECT, spec={"space": space, "semantics": NEWEST_SEMANTICS}), session, ModelCache()
        )
    assert refused.value.path == ["space", *path]
    assert inspect(
        assign(AssignmentKind.INSPECT, spec={"space": LORA | {"freeze_depth": "auto"}}), session, ModelCache()
    )


@pytest.mark.full
def test_of_several_models_the_fraction_counts(assign: Assign, session: Memory, model: Path, tmp_path: Path) -> None:
    models = [str(model), str(tiny_model(tmp_path / "other", layers=4))]
    for depth, fits in ((0.5, True), (1.0, False)):
        space = {"strategy": "lora", "lora_targets": "attention", "freeze_depth": depth}
        work = assign(AssignmentKind.INSPECT, spec={"model": models, "space": space, "semantics": NEWEST_SEMANTICS})
        if fits:
            assert inspect(work, session, ModelCache())
            continue
        with pytest.raises(BadData, match="lora changes nothing, since all trials freeze 2 blocks"):
            inspect(work, session, ModelCache())


def test_names_of_layers_in_frozen_blocks_alone_are_refused() -> None:
    resnet = backbone_of("resnet")
    depth = max(n for n in range(1, resnet.depth + 1) if targeted(resnet, n, "shortcut"))
    assert depth < resnet.depth
    for least in (depth - 1, depth):
        named = {"strategy": "lora", "lora_targets": ["all-linear", "shortcut"], "freeze_depth": least}
        space = Space.model_validate(named).resolved(resnet.depth)
        if least < depth:
            check_reach(resnet, space, "m")
            continue
        with pytest.raises(BadData, match=f"in its {depth} lowest blocks only, and all trials freeze these") as refused:
            check_reach(resnet, space, "m")
        assert refused.value.path == ["space", "lora_targets", 1]


def test_all_linear_asks_every_block_and_attention_only_one() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = nn.Linear(8, 8)

    class Block(nn.Module):
        def __init__(self, attends: bool) -> None:
            super().__init__()
            self.mixer = Attention() if attends else nn.LayerNorm(8)

    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Block(attends) for attends in (True, False, True)])

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model, self.head = Base(), nn.Linear(8, 2)

    hybrid = Backbone.find(Model())  # type: ignore[arg-type]
    check_targets(hybrid, "attention", "hybrid", ("space", "lora_targets"))
    assert layers_of(hybrid, "attention") == ["mixer.q_proj"] * 2
    with pytest.raises(BadData, match=r"layers\.1 of the model has no layer"):
        check_targets(hybrid, "all-linear", "hybrid", ("space", "lora_targets"))


@pytest.mark.parametrize("variant", a_few(1, ["dora", "lora", "rslora"]))
@pytest.mark.parametrize("name", ["bert", "gpt2", "resnet"])  # linear layers, Conv1D, convolutions
def test_a_merged_model_computes_what_its_adapters_did(assign: Assign, tmp_path: Path, name: str, variant: str) -> None:
    architecture = ARCHITECTURES[name]
    data = {"source": str(tiny_data(architecture.task, tmp_path / "data")), "validation": 0.2, "test": 0.2}
    spec = {"task": architecture.task, "model": str(architecture.build(tmp_path / "model")), "dataset": data}
    work, warm = assign(spec=spec, params=LORA | {"lora_variant": variant, "lora_rank": 4}), ModelCache()
    opened = warm.open(work)
    adapted, _ = prepare(opened, work.params, seed=3)
    torch.manual_seed(0)
    for key, parameter in adapted.named_parameters():
        if ".lora_B." in key:
            nn.init.normal_(parameter, std=0.1)
        elif ".lora_magnitude_vector." in key:
            with torch.no_grad():
                parameter.mul_(torch.empty_like(parameter).uniform_(0.5, 1.5))
    rows = opened.encoded("test", 128)
    engine = Engine(adapted, opened.task, warm.micro_batch, opened.loss(rows, work.params))
    for module in adapted.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of an untrained model's first batch, or its logits are all but zero
    adapted.train()
    engine.gradient(rows, list(range(len(rows))))
    trained = {key: p.grad for key, p in adapted.named_parameters() if p.requires_grad and ".lora_" in key}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in trained.values())
    assert any("magnitude" in key for key in trained) == (variant == "dora")
    expected = logits_of(engine, opened, rows)
    lora.merge(opened.pretrained)
    assert not any("lora" in key for key, _ in opened.pretrained.model.named_parameters())
    scale = float(expected.abs().max())
    torch.testing.assert_close(logits_of(engine, opened, rows), expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(("variant", "scale"), [("lora", 12 / 4), ("rslora", 12 / 2)])
def test_rank_and_alpha_scale_an_adapter(assign: Assign, variant: str, scale: float) -> None:
    work = assign(params=LORA | {"lora_variant": variant, "lora_rank": 4, "lora_alpha": 12, "lora_targets": "key"})
    opened = ModelCache().open(work)
    adapted, _ = prepare(opened, work.params, seed=3)
    layer = adapted.bert.encoder.layer[0].attention.self.key
    assert layer.lora_A["default"].weight.shape == (4, layer.in_features)
    nn.init.normal_(layer.lora_B["default"].weight)
    before = layer.base_layer.weight.detach().clone()
    change = scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    lora.merge(opened.pretrained)
    torch.testing.assert_close(adapted.bert.encoder.layer[0].attention.self.key.weight, before + change)


@pytest.mark.parametrize(
    ("own", "dropout", "probability"), [(-1, -1, 0.0), (-1, 0.3, 0.3), (0.2, 0.3, 0.2), (0, 0.3, 0.0), (0.2, -1, 0.2)]
)
def test_adapters_have_a_dropout_of_their_own(assign: Assign, own: float, dropout: float, probability: float) -> None:
    work = assign(params=LORA | {"lora_dropout": own, "dropout": dropout})
    adapted, _ = prepare(ModelCache().open(work), work.params, seed=3)
    layers = [module for module in adapted.modules() if isinstance(module, peft.tuners.lora.LoraLayer)]
    assert layers
    assert {getattr(layer.lora_dropout["default"], "p", 0.0) for layer in layers} == {probability}


@pytest.mark.parametrize("params", [DORA, LORA | {"lora_variant": "rslora", "lora_rank": 4, "lora_alpha": 4}])
@pytest.mark.full
def test_each_variant_learns_and_resumes_exactly(assign: Assign, tmp_path: Path, params: dict[str, Any]) -> None:
    given = {"params": params | {"epochs": 5, "lora_dropout": 0.05, "freeze_depth": 1}}
    whole, first, second = (Memory(tmp_path / name) for name in ("whole", "first", "first"))
    train(assign(**given), whole, ModelCache())
    assert whole.metrics[-1]["accuracy"] > 0.8
    first.decide = lambda step: Decision.STOP if step == 2 else Decision.CONTINUE
    with pytest.raises(Ended):
        train(assign(**given), first, ModelCache())
    train(assign(**given, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics
    assert any(f"rank {params['lora_rank']}" in line and "parameters train" in line for line in whole.lines)


@pytest.mark.parametrize("variant", a_few(1, ["dora", "rslora"]))
def test_the_winner_is_packed_without_adapters_and_gives_its_answers(
    assign: Assign, session: Memory, variant: str
) -> None:
    params = DORA | {"lora_variant": variant, "freeze_depth": 1, "epochs": 1}
    train(assign(params=params), session, ModelCache())
    evaluate_winner(assign, session, params)


@pytest.mark.full
@pytest.mark.fresh_process
def test_a_fresh_process_gives_the_answers_of_decomposed_adapters(assign: Assign, session: Memory) -> None:
    params = DORA | {"freeze_depth": 1, "epochs": 1}
    train(assign(params=params), session, ModelCache())
    evaluate_winner(assign, session, params)


def evaluate_winner(assign: Assign, session: Memory, params: dict[str, Any]) -> None:
    """Measure the winner and pack it, which raises NotReproduced where the packed model answers otherwise."""
    work = assign(AssignmentKind.EVALUATE, params=params, checkpoint=session.checkpoint())
    evaluation = evaluate(work, session, ModelCache())
    assert evaluation.test is not None
    unpack_tar(session.folder / "model.tar.gz", session.folder / "model")
    with safe_open(session.folder / "model" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert not any("lora" in name or "base_layer" in name for name in names)


def test_magnitudes_do_not_decay(assign: Assign, tmp_path: Path) -> None:
    """A magnitude is the length of a row of weights: pulled to zero it would switch the pretrained layer off."""
    resnet = ARCHITECTURES["resnet"]
    data = {"source": str(tiny_data(resnet.task, tmp_path / "data"))}
    spec = {"task": resnet.task, "model": str(resnet.build(tmp_path / "model")), "dataset": data}
    work = assign(spec=spec, params=LORA | {"lora_variant": "dora", "weight_decay": 0.1, "l1": 0.1})
    adapted, backbone = prepare(ModelCache().open(work), work.params, seed=3)
    groups = optim.parameter_groups(adapted, backbone.layers, backbone.depth + 1, work.params)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = {key: p for key, p in adapted.named_parameters() if ".lora_" in key}
    magnitudes = {key for key in named if "magnitude" in key}
    assert any(named[key].ndim == 4 for key in magnitudes)
    assert {decay[id(named[key])] for key in magnitudes} == {0.0}
    assert {decay[id(named[key])] for key in named.keys() - magnitudes} == {0.1}
    for parameter in named.values():
        parameter.grad = torch.zeros_like(parameter)
    optim.add_l1(optim.make_optimizer(groups, work.params), 0.1)
    assert all((named[key].grad == 0).all() for key in magnitudes)
    assert all(not (named[key].grad == 0).all() for key in named if ".lora_A." in key)


def test_targets_below_the_freeze_depth_leave_the_head_and_the_log_says_so(assign: Assign, session: Memory) -> None:
    params = LORA | {"freeze_depth": 2, "lora_targets": "query", "epochs": 1}
    train(assign(params=params), session, ModelCache())
    assert any("(query) names no layer above the freeze depth; the head trains alone" in line for line in session.lines)
    assert math.isfinite(session.metrics[-1]["loss"] or math.nan)


def test_a_dropout_that_neither_model_nor_adapters_have_is_refused(assign: Assign, tmp_path: Path) -> None:
    resnet = ARCHITECTURES["resnet"]
    data = {"source": str(tiny_data(resnet.task, tmp_path / "data"))}
    spec = {"task": resnet.task, "model": str(resnet.build(tmp_path / "model")), "dataset": data}
    space = {"strategy": "lora", "dropout": 0.1}
    inspect(assign(AssignmentKind.INSPECT, spec=spec | {"space": space}), Memory(tmp_path / "a"), ModelCache())
    with pytest.raises(BadData, match="has no dropout layer"):
        work = assign(AssignmentKind.INSPECT, spec=spec | {"space": space | {"lora_dropout": [0.0, 0.1]}})
        inspect(work, Memory(tmp_path / "b"), ModelCache())
