"""The strategy `probe` in a space: one trial for what it depends on, whatever else is drawn, and its one evaluation."""

from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.hyperparameters import complete, in_use
from luthier.studies.model_space import ModelsSpace
from luthier.studies.protocol import TrialState
from luthier.studies.search.storage import Storage
from luthier.studies.space import Space
from tests.support.searches import run, start
from tests.support.specs import spec

MIXED: dict[str, Any] = {
    "epochs": [1, 2],
    "strategy": ["full", "lora", "probe"],
    "lora_rank": [2, 4],
    "scheduler": ["linear", "polynomial"],
    "power": [1.0, 2.0],
    "max_length": [16, 32],
}
TRAINED = 2 * 2 * (1 + 2) * (1 + 2)  # epochs, max_length, full or a rank, linear or a power
DIFFERENT = TRAINED + 2  # a probe for each max_length


def test_a_probe_is_one_configuration() -> None:
    space = Space.model_validate(MIXED | {"learning_rate": [1e-4, 1e-3], "freeze_depth": [0, 1]}).resolved(2)
    probe = space.clip({"strategy": "probe", "max_length": 16})
    assert space.key(probe) == space.key(probe | {"learning_rate": 1e-3, "epochs": 2, "freeze_depth": 1, "power": 2.0})
    assert space.key(probe) != space.key(probe | {"max_length": 32})
    assert in_use(probe) == {"strategy": "probe", "max_length": 16}
    assert complete(probe | {"learning_rate": 0.1})["learning_rate"] == complete({})["learning_rate"]


def test_each_different_configuration_is_counted_and_listed_once() -> None:
    space = Space.model_validate(MIXED)
    assert space.size() == DIFFERENT
    listed = [space.configuration(index) for index in range(DIFFERENT)]
    assert len({space.key(params) for params in listed}) == DIFFERENT
    assert all(space.check(params) == params and list(params) == list(space) for params in listed)
    assert sum(params["strategy"] == "probe" for params in listed) == 2
    several = ModelsSpace.over(("a", "b"), MIXED | {"freeze_depth": [0.0, 1.0]}).resolved(4, 6)
    size = 4 * TRAINED + 2 * 2
    assert several.size() == size
    assert len({several.key(several.configuration(index)) for index in range(size)}) == size
    assert Space.model_validate({"strategy": "probe", "max_length": [16, 32]}).size() == 2


def test_a_users_probe_needs_no_other_values() -> None:
    space = Space.model_validate(MIXED)
    assert space.check({"strategy": "probe", "max_length": 32})["epochs"] == 2, "nearest to the default"
    assert space.check({"strategy": "probe"}, partial=True).keys() == MIXED.keys() - {"max_length"}
    with pytest.raises(ValidationError, match="is missing"):
        space.check({"strategy": "full", "max_length": 32})


def test_a_search_draws_each_probe_once_and_then_is_exhausted(sqlite: Storage) -> None:
    search = start(sqlite, space={"strategy": ["full", "probe"], "epochs": [1, 2, 3]})
    asked = run(search, range(4))
    assert sum(params["strategy"] == "probe" for params in asked if params) == 1
    assert search.ask(4) is None


def test_a_probe_is_not_pruned_and_is_no_measure_for_others(sqlite: Storage) -> None:
    """Its only score is as good as a whole trial's: at the first evaluation it would end trials that only begin."""
    pruner = {"name": "median", "startup_trials": 1}
    space = {"strategy": ["full", "probe"], "epochs": [3, 4, 5, 6]}
    search = start(sqlite, space=space, pruner=pruner, budget={"trials": 5})
    search.ask(0)
    for step in (1, 2, 3):
        search.report(0, step, 0.5)
    search.tell(0, TrialState.COMPLETE, 0.5, None)
    search.enqueue(1, {"strategy": "probe", "epochs": 3})
    assert not search.report(1, 1, 0.4), "worse than the median, and not ended"
    assert not search.report(1, 1, 0.4)
    search.tell(1, TrialState.COMPLETE, 0.9, None)
    search.enqueue(2, {"strategy": "full", "epochs": 4})
    assert not search.report(2, 1, 0.6), "better than the other that trains"


@pytest.mark.parametrize(
    ("changes", "path", "text"),
    [
        ({"space": {"strategy": "probe", "epochs": [1, 2]}}, "space.epochs", "changes nothing with strategy: probe"),
        ({"space": {"strategy": ["probe"], "freeze_depth": 1}}, "space.freeze_depth", "changes nothing with strategy"),
        (
            {"task": "object-detection", "space": {"strategy": ["full", "probe"], "epochs": 1}},
            "space.strategy",
            "probe solves a linear layer for one vector of each answer, and object-detection has none",
        ),
        ({"space": {"strategy": ["lora", "probe"]}, "quantization": "4bit"}, "quantization", "4bit needs adapters"),
    ],
)
def test_what_a_probe_cannot_do_is_refused(changes: dict[str, Any], path: str, text: str) -> None:
    with pytest.raises(ValidationError) as error:
        spec(**changes)
    assert any(".".join(map(str, e["loc"])) == path and text in e["msg"] for e in error.value.errors())


def test_a_study_of_probes_alone_has_no_pruner() -> None:
    alone = spec(space={"strategy": "probe", "max_length": [16, 32]}, budget={"trials": 2})
    assert (alone.pruner.name, alone.max_steps) == ("none", 1)
