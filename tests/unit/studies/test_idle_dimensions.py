"""Hyperparameters of adapters in a space of both strategies: a trial without adapters is one, whatever they are."""

import random
from typing import Any

import pytest

from luthier.studies.hyperparameters import HYPERPARAMETERS, complete, in_use
from luthier.studies.model_space import ModelsSpace
from luthier.studies.search.storage import Storage
from luthier.studies.space import Space
from tests.support.searches import SAMPLERS, run, start
from tests.support.specs import spec
from tests.support.tiers import a_few

BOTH: dict[str, Any] = {
    "epochs": [1, 2],
    "strategy": ["full", "lora"],
    "lora_rank": {"low": 2, "high": 6, "step": 2},
    "lora_targets": ["attention", "fc1,fc2"],
    "lora_alpha": 32,
}
DIFFERENT = 2 * (1 + 3 * 2)


def test_configurations_without_adapters_have_one_key() -> None:
    space = Space.model_validate(BOTH)
    params = space.clip({"strategy": "full", "lora_rank": 2})
    assert space.key(params) == space.key(params | {"lora_rank": 6, "lora_targets": "fc1,fc2"})
    assert space.key(params | {"strategy": "lora"}) != space.key(params | {"strategy": "lora", "lora_rank": 6})
    fixed = Space.model_validate(BOTH | {"strategy": "lora"})
    free = {name: value for name, value in params.items() if name in fixed.free()}  # as a search stores them
    assert fixed.key(free) != fixed.key(free | {"lora_rank": 6})


def test_each_different_configuration_is_counted_and_listed_once() -> None:
    for choices, size in ((["full", "lora"], DIFFERENT), (["lora"], 12), ("lora", 12), (["lora", "full"], DIFFERENT)):
        space = Space.model_validate(BOTH | {"strategy": choices})
        assert space.size() == size
        listed = [space.configuration(index) for index in range(size)]
        assert len({space.key(params) for params in listed}) == size
        assert all(space.check(params) == params and list(params) == list(space) for params in listed)
    several = ModelsSpace.over(("a", "b"), BOTH | {"freeze_depth": [0.0, 1.0]}).resolved(4, 6)
    assert several.size() == 4 * DIFFERENT
    assert len({several.key(several.configuration(index)) for index in range(4 * DIFFERENT)}) == 4 * DIFFERENT
    assert Space.model_validate(BOTH | {"lora_dropout": {"low": 0, "high": 0.1}}).size() is None


@pytest.mark.parametrize("sampler", a_few(3, SAMPLERS))
def test_a_search_runs_each_once_and_is_exhausted(sqlite: Storage, sampler: str) -> None:
    search = start(sqlite, space=BOTH, sampler={"name": sampler})
    asked = run(search, range(DIFFERENT))
    assert sum(params["strategy"] == "full" for params in asked if params) == 2
    assert search.ask(DIFFERENT) is None
    assert search.find({**asked[0], "lora_rank": 6}) == 0  # type: ignore[dict-item]


def test_options_of_a_scheduler_change_nothing_with_another() -> None:
    """Two choices of power, three of cycles, and one configuration of each scheduler without an option."""
    schedulers = ["linear", "polynomial", "cosine_with_restarts", "cosine_with_min_lr"]
    document: dict[str, Any] = {"scheduler": schedulers, "power": [1.0, 2.0], "num_cycles": [1, 2, 3]}
    space = Space.model_validate(document | {"min_lr_rate": 0.2, **BOTH})
    assert space.size() == (1 + 2 + 3 + 1) * DIFFERENT
    listed = [space.configuration(index) for index in range((1 + 2 + 3 + 1) * DIFFERENT)]
    assert len({space.key(params) for params in listed}) == len(listed)
    params = {"scheduler": "linear", "power": 2.0, "num_cycles": 3, "min_lr_rate": 0.2}
    assert space.key(space.clip(params)) == space.key(space.clip({"scheduler": "linear"}))
    assert in_use(params) == {"scheduler": "linear"}
    assert complete(params) == complete({})
    assert complete(params | {"scheduler": "polynomial"})["power"] == 2


def test_a_users_configuration_may_leave_out_what_changes_nothing() -> None:
    space = Space.model_validate(BOTH)
    checked = space.check({"epochs": 1, "strategy": "full"})
    assert checked == {"epochs": 1, "strategy": "full", "lora_rank": 6, "lora_alpha": 32.0, "lora_targets": "attention"}
    with pytest.raises(ValueError, match="is missing"):
        space.check({"epochs": 1, "strategy": "lora"})


def test_a_partial_configuration_leaves_open_what_hangs_on_an_open_choice() -> None:
    schedules: dict[str, Any] = {"scheduler": ["polynomial", "linear"], "power": [1.0, 2.0], "num_cycles": [1, 2]}
    space = Space.model_validate(BOTH | schedules)
    assert space.check({"epochs": 1}, partial=True) == {"epochs": 1, "lora_alpha": 32.0}
    named = {"scheduler": "linear", "strategy": "full"}
    idle = {"power": 1.0, "num_cycles": 1, "lora_rank": 6, "lora_targets": "attention", "lora_alpha": 32.0}
    assert space.check(named, partial=True) == named | idle
    fixed = Space.model_validate(BOTH | {"strategy": "lora"})
    assert fixed.check({"epochs": 1}, partial=True) == {"epochs": 1, "strategy": "lora", "lora_alpha": 32.0}


def test_a_trial_has_the_defaults_of_what_changes_nothing_and_people_do_not_see_it() -> None:
    drawn = {"strategy": "full", "lora_rank": 64, "lora_variant": "dora", "epochs": 2}
    assert complete(drawn) == complete({"epochs": 2})
    assert in_use(drawn) == {"strategy": "full", "epochs": 2}
    adapted = drawn | {"strategy": "lora"}
    assert in_use(adapted) == adapted
    assert complete(adapted)["lora_rank"] == 64
    assert complete({"strategy": "lora"})["lora_targets"] == HYPERPARAMETERS["lora_targets"].default


def test_names_of_modules_are_told_apart_whatever_their_order() -> None:
    knob = HYPERPARAMETERS["lora_targets"]
    assert knob.check(" v_proj , q_proj,v_proj") == "q_proj,v_proj"
    assert knob.check("attention.self.query") == "attention.self.query"
    assert knob.check("attention") == "attention"
    for wrong in ("", "q-proj", "a b", "all-linear,a", ".a", "a.", "*", "a" * 1_001, None, True, ["a"]):
        with pytest.raises(ValueError, match="q_proj,v_proj"):
            knob.check(wrong)


def test_spaces_of_many_configurations_are_not_listed() -> None:
    space = Space.model_validate(
        BOTH | {"max_length": {"low": 2, "high": 1_000_000}, "lora_rank": {"low": 1, "high": 999}}
    )
    size = space.size()
    assert size == 999_999 * 2 * (1 + 2 * 999)
    rng = random.Random(0)
    for _ in range(50):
        params = space.configuration(rng.randrange(size))
        assert space.check(params) == params


def test_a_spec_keeps_its_adapters() -> None:
    again = spec(space=BOTH)
    assert type(again).model_validate(again.model_dump()) == again
