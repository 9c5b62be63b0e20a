"""A study over several models, as REST and the worker's protocol show it."""

import threading
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import INSPECTION, Running, ScriptedWorker, paths, problem, spec

SMALL = {
    "blocks": [{"name": f"layer.{i}", "parameters": 100} for i in range(2)],
    "trainable_parameters": [210, 110, 10],
}
FOUND = INSPECTION.model_dump(mode="json") | {"others": [SMALL]}
SPACE = {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "freeze_depth": {"low": 0, "high": "auto"}}
MODELS = ["models/large", "models/small"]
OWN = {"model": "models/small", "learning_rate": 1e-4, "freeze_depth": 0.6}


@pytest.fixture
def study(house: Running, worker: ScriptedWorker) -> Running:
    """A study over a model of six blocks and one of two, inspected."""
    house.create(model=MODELS, space=SPACE, budget={"trials": 3})
    worker.finish(worker.take(AssignmentKind.INSPECT), inspection=FOUND)
    return house


def test_users_see_fractions_and_workers_get_blocks(study: Running, worker: ScriptedWorker) -> None:
    added = study.client.post("/v1/studies/s1/trials", json={"params": OWN})
    assert added.status_code == 201
    assert added.json()["params"] == OWN
    baseline = worker.take()
    assert (baseline.number, baseline.model, baseline.params["freeze_depth"]) == (0, "models/large", 0)
    worker.train(baseline)
    own = worker.take()
    assert (own.number, own.model, own.params["freeze_depth"]) == (1, "models/small", 1)
    assert own.spec.models == tuple(MODELS)
    worker.train(own)
    third = worker.take()
    assert isinstance(third.params["freeze_depth"], int)
    worker.finish(third, "pruned")
    measured = worker.take(AssignmentKind.EVALUATE)
    winner = study.trials()[measured.number or 0]
    assert measured.params["model"] == winner["params"]["model"] == measured.model
    assert measured.provenance["search_params"] == winner["params"]
    assert [trial["params"]["model"] for trial in study.trials()[:2]] == MODELS
    assert study.study()["spec"]["model"] == MODELS
    assert study.study()["best"]["params"] == winner["params"]


def test_a_fraction_that_freezes_the_same_blocks_was_run(study: Running) -> None:
    study.client.post("/v1/studies/s1/trials", json={"params": OWN}).raise_for_status()
    again = study.client.post("/v1/studies/s1/trials", json={"params": OWN | {"freeze_depth": 0.4}})
    assert "trial 1" in problem(again, 409)["detail"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"model": "models/other"}, "params.model"), ({"freeze_depth": 2}, "params.freeze_depth")],
)
def test_what_no_model_has_is_refused(study: Running, changes: dict[str, Any], path: str) -> None:
    response = study.client.post("/v1/studies/s1/trials", json={"params": OWN | changes})
    assert paths(response) == {path}


def test_a_plan_has_every_model(house: Running) -> None:
    worker = house.worker()

    def inspect() -> None:
        a = worker.claim(wait_seconds=20)
        assert a is not None
        worker.finish(a, inspection=FOUND)

    thread = threading.Thread(target=inspect)
    thread.start()
    plan = house.client.post("/v1/studies:plan", json=spec(model=MODELS, space=SPACE)).json()
    thread.join()
    assert [(model["model"], len(model["blocks"])) for model in plan["models"]] == [(MODELS[0], 6), (MODELS[1], 2)]
    assert plan["models"][1]["trainable_parameters"] == [210, 110, 10]
    assert plan["space"]["model"] == MODELS
    assert plan["space"]["freeze_depth"]["high"] == 1.0


def test_the_model_that_cannot_be_used_is_named(house: Running, worker: ScriptedWorker) -> None:
    house.create(model=MODELS, space=SPACE)
    told = {"message": "models/small holds no weights.", "path": ["model", 1]}
    worker.finish(worker.take(AssignmentKind.INSPECT), "failed", reason="bad_data", problem=told)
    assert house.study()["state"] == "failed"
    assert "models/small" in house.study()["error"]
