"""A study over several models: each is inspected, trained and packed as if it were the only one, and stays warm."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.errors import BadData
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.training import model_cache as warm_module
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.tiny import tiny_model
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
SPACE = {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}, "freeze_depth": {"low": 0, "high": "auto"}}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("deep") / "bert", layers=4)


@pytest.fixture
def several(model: Path, deep: Path) -> dict[str, Any]:
    return {"model": [str(model), str(deep)], "space": SPACE}


def test_every_model_is_inspected(assign: Assign, session: Memory, several: dict[str, Any]) -> None:
    found = inspect(assign(AssignmentKind.INSPECT, spec=several), session, ModelCache())
    assert found.depths == [2, 4]
    assert [len(model.trainable_parameters) for model in found.models] == [3, 5]
    assert found.estimates is not None
    assert found.estimates.memory_bytes is not None


def test_the_model_that_cannot_be_used_is_named(
    assign: Assign, session: Memory, several: dict[str, Any], deep: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(deep, bad)
    (bad / "model.safetensors").unlink()
    with pytest.raises(BadData, match="holds no weights") as refused:
        inspect(
            assign(AssignmentKind.INSPECT, spec=several | {"model": [*several["model"], str(bad)]}),
            session,
            ModelCache(),
        )
    assert refused.value.path == ["model", 2]
    assert str(bad) in refused.value.message


def test_models_that_take_turns_stay_warm_and_score_as_if_alone(
    assign: Assign, several: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, opened, scores = ModelCache(), {}, {}
    for turn in range(2):
        for name in several["model"]:
            work = assign(spec=several, params={"model": name, "epochs": 1, "freeze_depth": 1})
            session = Memory(tmp_path / f"{turn}{Path(name).parent.name}")
            train(work, session, warm)
            one = warm.open(work)
            assert opened.setdefault(name, one.pretrained) is one.pretrained
            assert one.encoded("train", 128) is opened.setdefault(name + "/train", one.encoded("train", 128))
            assert scores.setdefault(name, session.metrics) == session.metrics
    alone = Memory(tmp_path / "alone")
    train(assign(spec={"model": several["model"][1]}, params={"epochs": 1, "freeze_depth": 1}), alone, ModelCache())
    assert alone.metrics == scores[several["model"][1]]

    monkeypatch.setattr(warm_module, "KEPT_BYTES", 0)
    works = [assign(spec=several, params={"model": name}) for name in several["model"]]
    first = warm.open(works[0]).pretrained
    assert warm.open(works[0]).pretrained is first, "the model in use is kept whatever its size"
    warm.open(works[1])
    assert warm.open(works[0]).pretrained is not first, "without room the other one goes"


def test_the_winners_model_is_packed(assign: Assign, several: dict[str, Any], session: Memory, tmp_path: Path) -> None:
    params = {"model": several["model"][1], "epochs": 1, "freeze_depth": 3}
    warm = ModelCache()
    train(assign(spec=several, params=params), session, warm)
    made = {"search_params": {"model": several["model"][1], "freeze_depth": 0.8}}
    work = assign(
        AssignmentKind.EVALUATE, spec=several, params=params, checkpoint=session.checkpoint(), provenance=made
    )
    evaluation = evaluate(work, session, warm)
    assert evaluation.test is not None
    unpack_tar(session.folder / evaluation.model.name, tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["num_hidden_layers"] == 4
    about = json.loads((tmp_path / "model" / "luthier.json").read_text())
    assert about["search_params"] == made["search_params"]
    assert about["params"]["freeze_depth"] == 3
    assert about["spec"]["model"] == several["model"]
