"""The search space: which configurations it holds, and how others are moved into it or refused."""

import random
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import HYPERPARAMETERS, Params, complete
from luthier.studies.space import Space


def space(**dimensions: Any) -> Space:
    return Space.model_validate(dimensions)


def random_space(rng: random.Random) -> Space:
    """Any of the dimensions, each in one of the forms it may have."""

    def end(low: float, high: float) -> dict[str, float]:
        a, b = sorted((rng.uniform(low, high), rng.uniform(low, high)))
        return {"low": a, "high": b}

    forms: dict[str, list[Any]] = {
        "learning_rate": [1e-4, [1e-5, 1e-4], {**end(1e-6, 1e-3), "log": True}, end(1e-6, 1e-3), {"low": 1, "high": 1}],
        "batch_size": [16, [8, 16, 32], {"low": 4, "high": 64, "step": 12}, {"low": 1, "high": 60_000, "log": True}],
        "epochs": [3, {"low": 1, "high": rng.randint(1, 9)}],
        "weight_decay": [0.1, {**end(0, 0.3), "step": rng.choice([0.01, 0.07, 0.1])}, {"low": 0, "high": 0.3}],
        "freeze_depth": ["auto", [0, "auto"], {"low": 0, "high": "auto"}, {"low": 1, "high": 5, "step": 2}],
        "optimizer": ["sgd", ["adam", "sgd"]],
        "max_length": ["auto", [64, "auto"], {"low": 32, "high": "auto"}, {"low": 2, "high": 1_000_000}],
        "strategy": ["lora", ["full", "lora"]],
        "lora_rank": [4, [4, 8], {"low": 1, "high": 64, "log": True}],
        "lora_targets": ["v_proj, q_proj", ["attention", "fc1"]],
    }
    names = rng.sample(list(forms), rng.randint(1, len(forms)))
    return space(**{name: rng.choice(forms[name]) for name in names})


def random_params(rng: random.Random) -> Params:
    return {
        "learning_rate": 10 ** rng.uniform(-8, 0),
        "batch_size": rng.randint(1, 65_536),
        "epochs": rng.randint(1, 20),
        "weight_decay": rng.uniform(0, 1),
        "freeze_depth": rng.randint(0, 12),
        "optimizer": rng.choice(["adamw", "adam", "sgd"]),
        "max_length": rng.randint(2, 1_000_000),
        "strategy": rng.choice(["full", "lora"]),
        "lora_rank": rng.randint(1, 4_096),
        "lora_targets": rng.choice(["all-linear", "attention", "fc1", "q_proj,v_proj"]),
    }


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_clipped_into_a_space_lies_in_it(seed: int) -> None:
    rng = random.Random(seed)
    resolved = random_space(rng).resolved(6, length=rng.choice([None, 2, 48, 700]))
    for _ in range(20):
        clipped = resolved.clip(random_params(rng))
        assert list(clipped) == list(resolved)
        assert resolved.check(clipped) == clipped
        assert resolved.clip(clipped) == clipped
        for name, value in clipped.items():
            assert type(value) is {"int": int, "float": float, "choice": str, "text": str}[HYPERPARAMETERS[name].kind]


@pytest.mark.parametrize("seed", range(30))
def test_a_resolved_space_survives_json_and_resolving(seed: int) -> None:
    resolved = random_space(random.Random(seed)).resolved(6)
    assert Space.model_validate_json(resolved.model_dump_json()) == resolved
    assert resolved.resolved(6) == resolved


def test_clip_moves_to_the_nearest_value() -> None:
    s = space(learning_rate={"low": 1e-5, "high": 1e-4}, batch_size=[8, 64], epochs={"low": 1, "high": 9, "step": 4})
    assert s.clip({"learning_rate": 1.0, "batch_size": 40, "epochs": 4}) == {
        "learning_rate": 1e-4,
        "batch_size": 64,
        "epochs": 5,
    }
    assert s.clip({"learning_rate": 0.0, "batch_size": 1, "epochs": 3})["epochs"] == 1  # between two: the lower
    assert space(optimizer=["adam", "sgd"]).clip({"optimizer": "adamw"}) == {"optimizer": "adam"}
    assert space(epochs=7).clip({"epochs": 2}) == {"epochs": 7}
    assert space(epochs={"low": 2, "high": 4}).clip({}) == {"epochs": 3}  # the default


def test_a_decimal_step_gives_the_decimals_a_person_would_write() -> None:
    d = space(weight_decay={"low": 0.1, "high": 0.5, "step": 0.1})["weight_decay"]
    assert isinstance(d, Range)
    assert d.values() == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    ("params", "path", "text"),
    [
        ({"learning_rate": 1e-4, "epochs": 2, "dropout": 0.1}, "params.dropout", "is not in this study's space"),
        ({"learning_rate": 1e-4}, "params.epochs", "is missing"),
        ({"learning_rate": "fast", "epochs": 2}, "params.learning_rate", "must be a number"),
        ({"learning_rate": float("nan"), "epochs": 2}, "params.learning_rate", "finite"),
        ({"learning_rate": 1.0, "epochs": 2}, "params.learning_rate", "study's space: 1e-05 to 0.001"),
        ({"learning_rate": 1e-4, "epochs": 3}, "params.epochs", "study's space: 2 to 6 in steps of 2"),
        ({"learning_rate": 1e-4, "epochs": 2, "batch_size": 8}, "params.batch_size", "study's space: 16 (fixed)"),
        ({"learning_rate": 1e-4, "epochs": 2, "optimizer": "adam"}, "params.optimizer", "one of adamw, sgd"),
    ],
)
def test_a_configuration_outside_the_space_is_refused(params: dict[str, Any], path: str, text: str) -> None:
    s = space(
        learning_rate={"low": 1e-5, "high": 1e-3},
        epochs={"low": 2, "high": 6, "step": 2},
        batch_size=16,
        optimizer=["adamw", "sgd"],
    )
    with pytest.raises(ValidationError) as caught:
        s.check({"optimizer": "sgd"} | params)
    found = {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}
    assert list(found) == [path]
    assert text in found[path]


def test_a_checked_configuration_has_fixed_values_and_exact_types() -> None:
    s = space(batch_size=16, epochs={"low": 1, "high": 3}, weight_decay={"low": 0.1, "high": 0.5, "step": 0.1})
    checked = s.check({"epochs": 2.0, "weight_decay": 0.1 + 0.2})
    assert checked == {"batch_size": 16, "epochs": 2, "weight_decay": 0.3}
    assert type(checked["epochs"]) is int


def test_auto_is_a_choice_of_pooling_and_no_length() -> None:
    s = space(pooling=["auto", "mean"], max_length={"low": 8, "high": 64}, batch_size=16)
    assert s.check({"pooling": "auto", "max_length": 8}) == {"batch_size": 16, "max_length": 8, "pooling": "auto"}
    with pytest.raises(ValidationError, match="must be a number in the study's space: 8 to 64"):
        s.check({"pooling": "auto", "max_length": "auto"})


@pytest.mark.parametrize(
    ("depth", "path"),
    [(7, "space.freeze_depth"), ([0, 7], "space.freeze_depth.1"), ({"low": 0, "high": 7}, "space.freeze_depth.high")],
)
def test_a_freeze_depth_deeper_than_the_model_is_refused(depth: Any, path: str) -> None:
    with pytest.raises(ValidationError, match="the model has 6 blocks, so at most 6") as caught:
        space(freeze_depth=depth).resolved(6)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == path


def test_auto_becomes_the_models_block_count() -> None:
    assert space(freeze_depth="auto").resolved(6)["freeze_depth"] == 6
    assert space(freeze_depth=[0, 6, "auto"]).resolved(6)["freeze_depth"] == (0, 6)
    assert space(freeze_depth={"low": 0, "high": "auto"}).resolved(6).size() == 7
    assert list(space(epochs=1).resolved(6)) == ["epochs"]


def test_size_counts_configurations_without_listing_them() -> None:
    assert space(epochs=3).size() == 1
    assert space(batch_size=[8, 16], epochs={"low": 1, "high": 5, "step": 2}).size() == 6
    assert space(weight_decay={"low": 0, "high": 0.3, "step": 0.1}).size() == 4
    assert (
        space(max_length={"low": 2, "high": 1_000_000}, batch_size={"low": 1, "high": 65_536}).size() == 65_535_934_464
    )
    assert space(learning_rate={"low": 1e-4, "high": 1e-4}, epochs=[1, 2]).size() == 2
    assert space(learning_rate={"low": 1e-5, "high": 1e-4}).size() is None


def test_what_a_space_leaves_out_comes_from_the_task_then_from_the_general_defaults() -> None:
    params = complete({"epochs": 9}, {"epochs": 3, "batch_size": 4})
    assert (params["epochs"], params["batch_size"], params["optimizer"]) == (9, 4, "adamw")
    assert list(params) == list(HYPERPARAMETERS)
