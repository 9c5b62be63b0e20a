"""The cost model: what it expects before any trial, and what it learns of them."""

import random

import numpy as np
import pytest
from scipy.optimize import nnls

from luthier.studies.hyperparameters import Params
from luthier.studies.results import Inspection
from luthier.studies.trial_costs import RIDGE, Ran, costs_before, least_squares
from luthier.studies.trial_work import Prefixes
from tests.support.scripted_worker import INSPECTION
from tests.support.specs import SPACE, spec

PARAMS: Params = {"learning_rate": 1e-4, "batch_size": 32, "epochs": 3, "weight_decay": 0.0, "freeze_depth": 0}


def seconds(whole: Params) -> float:
    """What trials take in these tests: much for blocks, little for steps, and some for the start."""
    above = 1 - int(whole["freeze_depth"]) / 6
    return 2.0 + float(whole["epochs"]) * (0.5 + 6.0 / float(whole["batch_size"]) + 4.0 * above)


def drawn(count: int, seed: int = 1) -> list[Params]:
    rng = random.Random(seed)
    return [
        PARAMS | {"freeze_depth": rng.randint(0, 6), "batch_size": rng.choice([8, 16, 32]), "epochs": rng.randint(1, 5)}
        for _ in range(count)
    ]


def ran(params: Params, factor: float = 1.0) -> Ran:
    return Ran(params, float(params["epochs"]), seconds(params) * factor)


def test_the_estimate_is_that_of_the_baseline_and_less_is_trained_in_less_time() -> None:
    s = spec()
    costs = costs_before(s, s.resolved_space(INSPECTION), INSPECTION)
    assert costs.seconds(PARAMS) == pytest.approx(12.5)
    assert costs.at_baseline(6) > 12.5
    each = costs.by_depth("models/minilm")
    assert each[0] == pytest.approx(12.5)
    assert len(each) == 7
    assert each == sorted(each, reverse=True)
    assert each[6] < each[0] / 2
    for cheaper in ({"epochs": 1}, {"batch_size": 64}, {"freeze_depth": 3}):
        assert costs.seconds(PARAMS | cheaper) < 12.5


def test_a_dozen_trials_correct_it_also_where_one_says_nothing() -> None:
    s = spec()
    rng = random.Random(0)
    first = [ran(PARAMS, factor=4.0)]  # its process had to start
    trials = first + [ran(params, rng.uniform(0.93, 1.07)) for params in drawn(12)]
    costs, _ = costs_before(s, s.resolved_space(INSPECTION), INSPECTION).after(trials)
    errors = [abs(costs.seconds(params) / seconds(params) - 1) for params in drawn(50, seed=2)]
    assert max(errors) < 0.3
    assert sum(errors) / len(errors) < 0.1


def test_a_trial_that_ended_early_counts_with_the_data_that_it_saw() -> None:
    s = spec()
    before = costs_before(s, s.resolved_space(INSPECTION), INSPECTION)
    whole, _ = before.after([Ran(PARAMS, 3.0, 12.5)])
    pruned, _ = before.after([Ran(PARAMS, 1.0, 12.5)])
    assert whole.seconds(PARAMS) == pytest.approx(12.5, rel=0.01)
    assert pruned.seconds(PARAMS) > 25
    unknown, _ = before.after([Ran(PARAMS, None, 500.0), Ran(PARAMS, 1.0, None)])
    assert unknown.seconds(PARAMS) == before.seconds(PARAMS)


def test_blocks_are_computed_once_and_a_deeper_prefix_starts_from_a_shallower_one() -> None:
    s = spec()
    costs = costs_before(s, s.resolved_space(INSPECTION), INSPECTION)
    prefixes = Prefixes()
    params = PARAMS | {"freeze_depth": 5}
    alone = costs.seconds(params, prefixes)
    prefixes.add(costs.work.whole(PARAMS | {"freeze_depth": 3}))
    from_there = costs.seconds(params, prefixes)
    prefixes.add(costs.work.whole(params))
    assert alone > from_there > costs.seconds(params, prefixes) == costs.seconds(params)
    assert costs.seconds(PARAMS | {"freeze_depth": 2}, prefixes) > costs.seconds(PARAMS | {"freeze_depth": 2})


def test_each_of_several_models_has_a_speed_of_its_own() -> None:
    s = spec(model=["small", "large"], space={**SPACE, "freeze_depth": {"low": 0, "high": 1}})
    small = INSPECTION.model_dump(include={"blocks", "trainable_parameters"})
    large = {
        "blocks": [{"name": f"layer.{i}", "parameters": 300} for i in range(12)],
        "trainable_parameters": [3610 - 300 * i for i in range(13)],
    }
    inspection = Inspection.model_validate(INSPECTION.model_dump() | small | {"others": [large]})
    before = costs_before(s, s.resolved_space(inspection), inspection)
    params = PARAMS | {"model": "large", "freeze_depth": 0.5}
    assert before.seconds(params) > before.seconds(params | {"model": "small"})
    assert [len(before.by_depth(model)) for model in ("small", "large")] == [7, 13]
    trials = [Ran(params | {"model": "small", "epochs": n}, n, 20.0 * n) for n in (1, 2, 3)]
    after, _ = before.after(trials + [Ran(params | {"epochs": n}, n, 15.0 * n) for n in (1, 2, 3)])
    assert after.seconds(params | {"model": "small"}) == pytest.approx(60, rel=0.25)
    assert after.seconds(params) == pytest.approx(45, rel=0.25)


def test_the_squares_are_the_least_as_scipy_finds_them() -> None:
    rng = np.random.default_rng(3)
    relative, weights = rng.uniform(0, 2, (9, 6)), rng.uniform(0.1, 1, 9)
    root = np.sqrt(weights)
    rows = np.vstack([relative * root[:, None], np.sqrt(RIDGE) * np.eye(6)])
    expected, _ = nnls(rows, np.concatenate([root, np.full(6, np.sqrt(RIDGE))]))
    assert min(expected) == 0.0, "some coefficient is at its bound"
    assert least_squares(relative, weights, np.ones(6)) == pytest.approx(expected, abs=1e-4)
