"""A study over several models: the model is a dimension, and a freeze depth is a fraction of each model's blocks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.hyperparameters import complete
from luthier.studies.model_space import frozen_blocks
from luthier.studies.protocol import TrialState
from luthier.studies.search.search import Search
from luthier.studies.search.storage import close_storage, init_storage, open_storage
from luthier.studies.space import Space
from tests.support.specs import spec
from tests.support.tiers import a_few

MODELS = ["small", "large"]
DEPTHS = (2, 4)
AUTO = {"low": 0, "high": "auto"}


def resolved(**dimensions: Any) -> Space:
    return spec(model=MODELS, space=dimensions).space.resolved(*DEPTHS)


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Any]:
    url = f"sqlite:///{tmp_path / 'luthier.db'}"
    init_storage(url)
    storage = open_storage(url)

    def make(**changes: Any) -> Search:
        s = spec(model=MODELS, **changes)
        return Search(storage, s, s.space.resolved(*DEPTHS))

    yield make
    close_storage(storage)


def everything(search: Search) -> list[dict[str, Any]]:
    """Every configuration until there is none left."""
    found: list[dict[str, Any]] = []
    while (params := search.ask(len(found))) is not None:
        search.tell(len(found), TrialState.COMPLETE, 0.5 + len(found) / 100, None)
        found.append(params)
        assert len(found) < 100
    return found


@pytest.mark.parametrize(
    ("fraction", "depth", "blocks"), [(0.0, 6, 0), (1.0, 6, 6), (0.5, 5, 3), (0.24, 2, 0), (0.25, 2, 1), (0.29, 50, 15)]
)
def test_a_fraction_freezes_the_nearest_number_of_blocks(fraction: float, depth: int, blocks: int) -> None:
    assert frozen_blocks(fraction, depth) == blocks


def test_the_model_is_the_first_dimension_and_auto_is_all() -> None:
    space = resolved(learning_rate=1e-4, freeze_depth=AUTO)
    assert list(space) == ["model", "learning_rate", "freeze_depth"]
    assert space["model"] == tuple(MODELS)
    assert space.model_dump(mode="json")["freeze_depth"] == {"low": 0.0, "high": 1.0, "log": False, "step": None}
    assert resolved(freeze_depth=[0, 1, "auto"])["freeze_depth"] == (0.0, 1.0)
    assert resolved(freeze_depth="auto")["freeze_depth"] == 1.0


def test_a_worker_gets_blocks_of_the_chosen_model() -> None:
    space = resolved(learning_rate=1e-4, freeze_depth=AUTO)
    for model, blocks in zip(MODELS, (1, 3), strict=True):
        assigned = space.assigned(complete({"model": model, "freeze_depth": 0.7}))
        assert (assigned["model"], assigned["freeze_depth"]) == (model, blocks)
    assert resolved(epochs=1).assigned(complete({"model": "large"}))["freeze_depth"] == 0


def test_one_model_keeps_whole_numbers() -> None:
    space = spec(space={"freeze_depth": AUTO}).space.resolved(4)
    assert list(space) == ["freeze_depth"]
    assert space.assigned({"freeze_depth": 3}) == {"freeze_depth": 3}


@pytest.mark.parametrize(
    ("dimension", "counts"),
    [
        (AUTO, (3, 5)),
        ({"low": 0.4, "high": 0.6}, (1, 1)),
        ({"low": 0, "high": 1, "step": 0.01}, (3, 5)),
        ({"low": 0.3, "high": 1, "log": True}, (2, 4)),
        ([0, 0.1, 0.5, "auto"], (3, 3)),
        (0.5, (1, 1)),
        (None, (1, 1)),
    ],
)
def test_fractions_that_freeze_the_same_blocks_are_one_configuration(dimension: Any, counts: tuple[int, int]) -> None:
    depth = {} if dimension is None else {"freeze_depth": dimension}
    space = resolved(batch_size=[8, 16], epochs={"low": 1, "high": 3}, **depth)
    size = space.size()
    assert size == sum(counts) * 2 * 3
    found = [space.configuration(i) for i in range(size)]
    assert len({space.key(params) for params in found}) == size
    assert [space.check(params) for params in found] == found, "each lies in the space"


@pytest.mark.parametrize("sampler", a_few(3, ["tpe", "grid", "random", "gp", "cmaes", "qmc"]))
def test_every_sampler_runs_each_model_with_each_depth_once(search: Any, sampler: str) -> None:
    found = everything(search(space={"learning_rate": 1e-4, "freeze_depth": AUTO}, sampler={"name": sampler}))
    assert (found[0]["model"], found[0]["freeze_depth"]) == ("small", 0.0), "the baseline is the first model's"
    depths = dict(zip(MODELS, DEPTHS, strict=True))
    ran = [(params["model"], frozen_blocks(params["freeze_depth"], depths[params["model"]])) for params in found]
    assert sorted(ran) == [("large", k) for k in range(5)] + [("small", k) for k in range(3)]


def test_a_users_configuration_is_known_again_by_its_blocks(search: Any) -> None:
    opened = search(space={"learning_rate": 1e-4, "freeze_depth": AUTO})
    opened.ask(0)
    opened.enqueue(1, {"model": "large", "learning_rate": 1e-4, "freeze_depth": 0.5})
    assert opened.find({"model": "large", "learning_rate": 1e-4, "freeze_depth": 0.55}) == 1
    assert opened.find({"model": "small", "learning_rate": 1e-4, "freeze_depth": 0.5}) is None
    assert opened.ask(1) == {"model": "large", "learning_rate": 1e-4, "freeze_depth": 0.5}


def test_importance_names_the_model(search: Any) -> None:
    opened = search(space={"freeze_depth": [0, 1], "batch_size": [8, 16]})
    everything(opened)
    assert "model" in opened.plot("importance")[0]


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"model": "other", "freeze_depth": 0.5}, "params.model"),
        ({"freeze_depth": 0.5}, "params.model"),
        ({"model": "small", "freeze_depth": 2}, "params.freeze_depth"),
        ({"model": "small"}, "params.freeze_depth"),
    ],
)
def test_a_users_configuration_is_checked(params: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        resolved(freeze_depth=AUTO).check(params)
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [path]
