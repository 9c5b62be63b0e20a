"""Pooling: a pooler is trained with the head at every depth, and a model's class pools as a configuration says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.studies.results import Inspection
from luthier.studies.semantics import NEWEST_SEMANTICS, POOLER_TRAINED
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.packed_model import NAME
from luthier.trials.jobs.pooling_choice import choose_pooling
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import prepare
from tests.support.architectures import ARCHITECTURES
from tests.support.archives import unpack_tar
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.fixture
def modernbert(tmp_path: Path) -> str:
    return str(ARCHITECTURES["modernbert"].build(tmp_path / "modernbert"))


def with_pooling(pooling: Any, **fields: Any) -> dict[str, Any]:
    space = {"learning_rate": 1e-3, "epochs": 2, "pooling": pooling}
    return {"spec": {"semantics": NEWEST_SEMANTICS, "space": space, **fields}}


def test_no_depth_freezes_a_pooler_of_the_checkpoint(assign: Assign) -> None:
    trained = {}
    for semantics in (POOLER_TRAINED - 1, POOLER_TRAINED):
        work = assign(spec={"semantics": semantics}, params={"freeze_depth": 2})
        study = ModelCache().open(work)
        assert not study.pretrained.fresh & {"bert.pooler.dense.weight"}, "the checkpoint holds it"
        model, backbone = prepare(study, work.params, 0)
        assert backbone.depth == 2
        trained[semantics] = {name for name, p in model.named_parameters() if p.requires_grad}
    own = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert trained[POOLER_TRAINED] - trained[POOLER_TRAINED - 1] == own
    assert all(name.startswith("classifier") for name in trained[POOLER_TRAINED - 1])


def test_a_trained_pooler_is_trained_the_same_with_and_without_the_cache(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = assign(spec={"semantics": NEWEST_SEMANTICS}, params={"freeze_depth": 2, "epochs": 3})
    sessions = [Memory(tmp_path / "cached"), Memory(tmp_path / "whole")]
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path / "prefixes"))  # where no other test has built it
    train(work, sessions[0], ModelCache())
    monkeypatch.setenv("LUTHIER_CACHE_MEMORY", "0")
    monkeypatch.setenv("LUTHIER_CACHE_DISK", "0")
    train(work, sessions[1], ModelCache())
    assert any("frozen prefix of depth 2" in line for line in sessions[0].lines)
    cached, whole = (session.metrics[-1] for session in sessions)
    assert cached["loss"] == pytest.approx(whole["loss"], abs=1e-5)


@pytest.mark.parametrize(("pooling", "word"), a_few(1, [("mean", "mean"), ("first", "cls"), ("auto", "cls")]))
def test_the_packed_winner_pools_as_its_configuration_says(
    assign: Assign, modernbert: str, tmp_path: Path, pooling: str, word: str
) -> None:
    given = with_pooling(pooling, model=modernbert)
    session, cache = Memory(tmp_path / pooling), ModelCache()
    params = {"pooling": pooling, "epochs": 1, "freeze_depth": 3}
    assert train(assign(params=params, **given), session, cache).status == "complete"
    best = Checkpoint(best=file_ref(session.named("best")))
    evaluate(assign(AssignmentKind.EVALUATE, params=params, checkpoint=best, **given), session, cache)
    unpack_tar(session.folder / NAME, tmp_path / "unpacked")
    assert hf.AutoConfig.from_pretrained(tmp_path / "unpacked").classifier_pooling == word


def test_poolings_have_prefixes_of_their_own(assign: Assign, modernbert: str, tmp_path: Path) -> None:
    given = with_pooling(["first", "mean"], model=modernbert)
    cache, losses = ModelCache(), {}
    for number, (pooling, warm) in enumerate([("first", cache), ("mean", cache), ("first", cache), ("mean", None)]):
        session = Memory(tmp_path / str(number))
        work = assign(params={"pooling": pooling, "epochs": 1, "freeze_depth": 3}, **given)
        assert train(work, session, warm or ModelCache()).status == "complete"
        losses[number] = session.metrics[-1]["loss"]
    assert losses[0] == losses[2] != losses[1] == losses[3]


@pytest.mark.full
def test_auto_is_what_the_probe_found(assign: Assign, modernbert: str, tmp_path: Path) -> None:
    given = with_pooling("auto", model=modernbert)
    session = Memory(tmp_path / "inspection")
    found = inspect(assign(AssignmentKind.INSPECT, **given), session, ModelCache())
    assert found.pooling in ("first", "mean")
    assert any(f"pooling auto is {found.pooling} for" in line for line in session.lines)
    losses = {}
    for pooling in ("auto", "first", "mean"):
        session = Memory(tmp_path / pooling)
        work = assign(params={"pooling": pooling, "epochs": 1, "freeze_depth": 3}, inspection=found, **given)
        assert train(work, session, ModelCache()).status == "complete"
        losses[pooling] = session.metrics[-1]["loss"]
    assert losses["auto"] == losses[found.pooling]
    assert losses["first"] != losses["mean"]
    assert Inspection.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize(
    ("architecture", "own", "other"),
    a_few(1, [("bert", "first", "mean"), ("gpt2", "last", "first"), ("roberta", "first", "last")]),
)
def test_a_pooling_that_the_class_does_not_have_is_refused(
    assign: Assign, tmp_path: Path, architecture: str, own: str, other: str
) -> None:
    folder = str(ARCHITECTURES[architecture].build(tmp_path / architecture))
    inspect(assign(AssignmentKind.INSPECT, **with_pooling(own, model=folder)), Memory(tmp_path / "own"), ModelCache())
    refused = assign(AssignmentKind.INSPECT, **with_pooling([own, other], model=folder))
    with pytest.raises(BadData, match=f"cannot pool by '{other}': .* has {own} only; leave pooling out") as error:
        inspect(refused, Memory(tmp_path / "other"), ModelCache())
    assert error.value.path == ["space", "pooling"]


def test_mean_pooling_passes_over_padding(modernbert: str) -> None:
    model = hf.AutoModelForSequenceClassification.from_pretrained(modernbert, classifier_pooling="mean").eval()
    ids = torch.tensor([[2, 9, 8, 3]])
    padded = torch.tensor([[2, 9, 8, 3, 0, 0]])
    with torch.no_grad():
        alone = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        beside = model(input_ids=padded, attention_mask=(padded > 0).long()).logits
    assert torch.allclose(alone, beside, atol=1e-5)


@pytest.mark.full
def test_a_probe_without_memory_fails_no_inspection(assign: Assign, tmp_path: Path, modernbert: str) -> None:
    given = with_pooling("auto", model=modernbert)
    work = assign(AssignmentKind.INSPECT, **given)
    study, session = ModelCache().open(work), Memory(tmp_path / "session")

    def refuse(module: object, args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = study.backbone.base.register_forward_pre_hook(refuse)
    assert choose_pooling(work.spec, study, 16, session.poll, session.log) is None
    assert session.lines == [f"pooling auto is first for {modernbert}, its own: memory does not suffice to choose"]
    handle.remove()
    assert choose_pooling(work.spec, study, 16, session.poll, session.log) in ("first", "mean")
