"""POST /v1/studies:plan: what would run, and nothing stored."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from luthier.service.api import plan
from luthier.service.cli.plan import plan_tables
from luthier.service.schemas import PlanView
from luthier.studies.depth_scores import DepthProbe, DepthScore
from luthier.studies.findings import note, warning
from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import INSPECTION, Running, ScriptedWorker, paths, problem, spec
from tests.support.stored_rows import everything


def planned(house: Running, answer: Callable[[ScriptedWorker, Assignment], None], **changes: Any) -> httpx.Response:
    """The answer to a plan that a worker inspects."""
    worker = house.worker()

    def inspect() -> None:
        a = worker.claim(wait_seconds=20)
        assert a is not None
        assert a.kind is AssignmentKind.INSPECT
        answer(worker, a)

    thread = threading.Thread(target=inspect)
    thread.start()
    response = house.client.post("/v1/plan", json=spec(**changes))
    thread.join()
    return response


def nothing_stored(house: Running) -> bool:
    stored = [path for path in house.core.store.root.iterdir() if path.is_dir()]
    return everything(house) == [[], [], []] and stored == [] and house.get("/v1/studies")["items"] == []


def test_a_plan_tells_what_would_run(house: Running) -> None:
    body = planned(house, ScriptedWorker.inspect, budget={"trials": 10}, parallel=2).json()
    assert body["space"]["freeze_depth"]["high"] == 6, "auto is resolved"
    assert body["data"] == {"rows": INSPECTION.rows, "labels": INSPECTION.labels, "max_length": None, "findings": []}
    (model,) = body["models"]
    assert model["model"] == "models/tiny"
    assert len(model["blocks"]) == 6
    assert model["trainable_parameters"] == [610, 510, 410, 310, 210, 110, 10]
    assert len(model["seconds_per_trial"]) == 7
    assert model["seconds_per_trial"][0] == 12.5 > model["seconds_per_trial"][6] > 0
    assert body["pruner"] == {"name": "none", "trials": 10, "prunable_trials": 0, "note": None}
    assert [(trial["number"], trial["source"]) for trial in body["first"]] == [(0, "baseline")]
    sizes = body["estimates"].pop("batch_sizes")
    assert body["estimates"] == {"seconds_per_trial": 12.5, "seconds": 62.5, "memory_bytes": 1_000_000}
    assert sizes[1] == {"batch_size": 32, "fits": False, "micro_batch": 16, "memory_bytes": 4_000_000}
    assert nothing_stored(house)


def test_a_plan_of_a_study_that_goes_on_takes_nothing_over(house: Running) -> None:
    given = {"trials": [{"params": {"learning_rate": 1e-4}}]}
    assert planned(house, ScriptedWorker.inspect, **{"from": given}).status_code == 200
    assert nothing_stored(house)
    with pytest.raises(KeyError):
        house.optuna()


def test_a_plan_says_how_many_trials_the_pruner_could_end(house: Running) -> None:
    pruner = {"name": "median", "startup_trials": 4}
    body = planned(house, ScriptedWorker.inspect, budget={"trials": 10}, pruner=pruner).json()
    note = body["pruner"].pop("note")
    assert body["pruner"] == {"name": "median", "trials": 10, "prunable_trials": 6}
    assert "compares a trial with 3 others at least, of as many epochs or more" in note
    assert note.endswith("About 2 of the 10 trials will have them.")
    assert body["remarks"] == []
    own = planned(house, ScriptedWorker.inspect, budget={"trials": 8}, preset="quick").json()["remarks"]
    assert own == ["The spec's own space holds, whole, and not that of preset quick."]
    small = {"freeze_depth": {"low": 0, "high": "auto"}, "epochs": 2}  # 7 depths, once the model is open
    body = planned(house, ScriptedWorker.inspect, budget={"trials": 10}, pruner=pruner, space=small).json()
    assert body["pruner"] == {"name": "median", "trials": 7, "prunable_trials": 3, "note": None}
    body = planned(house, ScriptedWorker.inspect, budget={"trials": 12}, pruner={"name": "asha"}).json()
    rungs = [{"step": 1, "trials": 12}]
    assert body["pruner"] == {"name": "asha", "trials": 12, "prunable_trials": 11, "note": None, "rungs": rungs}
    endless = planned(house, ScriptedWorker.inspect, budget={"gpu_seconds": 60}, pruner=pruner).json()
    assert endless["pruner"].pop("note").endswith("Until there are so many, it does not decide.")
    assert endless["pruner"] == {"name": "median", "trials": None, "prunable_trials": None}


@pytest.mark.parametrize(
    ("pruner", "path"),
    [
        ({"name": "median", "startup_trials": 10}, "pruner.startup_trials"),
        ({"name": "median", "warmup_steps": 2}, "pruner.warmup_steps"),
        ({"name": "patient", "patience": 1}, "pruner.patience"),
    ],
)
def test_a_pruner_that_can_end_no_trial_is_refused_wherever_a_spec_is_sent(
    house: Running, pruner: dict[str, Any], path: str
) -> None:
    sent = spec(budget={"trials": 10}, pruner=pruner)
    for route in ("/v1/studies", "/v1/studies:plan", "/v1/plan"):
        assert paths(house.client.post(route, json=sent)) == {path}
    study = {key: value for key, value in sent.items() if key != "name"}
    nightly = {"name": "nightly", "cron": "@daily", "study": study}
    assert paths(house.client.post("/v1/schedules", json=nightly)) == {f"study.{path}"}
    good = nightly | {"study": study | {"pruner": {"name": "none"}}}
    assert house.client.post("/v1/schedules", json=good).status_code == 201
    assert paths(house.client.patch("/v1/schedules/nightly", json={"study": study})) == {f"study.{path}"}
    assert nothing_stored(house)


def test_a_plan_and_a_study_show_the_linear_probe_of_each_depth(house: Running, worker: ScriptedWorker) -> None:
    scores = [DepthScore(freeze_depth=k, score=0.5 + k / 10, seconds=0.1) for k in (0, 2)]
    probe = DepthProbe(rows=300, validation_rows=60, seconds=1.5, scores=scores)
    worker.inspection = INSPECTION.model_copy(update={"probe": probe})

    def inspect(scripted: ScriptedWorker, a: Assignment) -> None:
        scripted.finish(a, inspection=worker.inspection.model_dump(mode="json"))

    told = probe.model_dump(mode="json")
    body = planned(house, inspect).json()
    assert body["models"][0]["probe"] == told
    (table,) = (table for table in plan_tables(PlanView.model_validate(body)) if table.title == "models/tiny")
    assert list(table.columns[-1].cells) == ["0.5000", "-", "0.7000", "-", "-", "-", "-"]
    house.client.post("/v1/studies", json=spec("s1"))
    inspect(worker, worker.claim())
    assert house.client.get("/v1/studies/s1").json()["data"]["probes"] == [told]
    page = house.client.get("/studies/s1").text
    assert "A linear model on 300 rows" in page
    assert '<tr><td>2</td><td class="number">0.7000</td></tr>' in page


def test_what_an_inspection_says_of_the_data_is_shown(house: Running, worker: ScriptedWorker) -> None:
    folders = note("folders-passed-over", "data: passed over predict (5 image files).", 5, ["predict"])
    silent = warning("silent-sounds", "2 of 60 sounds are silent.", "Listen to them.", 2, ["a.wav", "b.wav"])
    worker.inspection = INSPECTION.model_copy(update={"findings": [folders, silent]})

    def inspect(scripted: ScriptedWorker, a: Assignment) -> None:
        scripted.finish(a, inspection=worker.inspection.model_dump(mode="json"))

    shown = [
        {
            "code": "folders-passed-over",
            "severity": "note",
            "count": 5,
            "message": "data: passed over predict (5 image files).",
            "examples": ["predict"],
            "cure": "",
        },
        silent.model_dump(mode="json"),
    ]
    assert planned(house, inspect).json()["data"]["findings"] == shown
    house.started(worker, "noted", budget={"trials": 1})
    study = house.study("noted")
    data = {"rows": INSPECTION.rows, "labels": INSPECTION.labels, "max_length": None}
    assert study["data"] == data | {"findings": shown}
    assert study["warnings"] == ["2 of 60 sounds are silent. Listen to them."]
    (listed,) = house.get("/v1/studies")["items"]
    assert listed["data"] is None
    assert listed["warnings"] == study["warnings"]


def test_a_study_that_is_not_inspected_has_no_data_yet(house: Running) -> None:
    house.create("new")
    assert house.study("new")["data"] is None


def test_a_plan_of_bad_data_names_the_path(house: Running) -> None:
    def refuse(worker: ScriptedWorker, a: Assignment) -> None:
        message = {"message": "data/sms.csv: no column text; it has a, b", "path": ["dataset", "columns", "text"]}
        worker.finish(a, "failed", reason="bad_data", problem=message)

    response = planned(house, refuse)
    assert paths(response) == {"dataset.columns.text"}
    assert "no column text" in response.json()["detail"]
    assert nothing_stored(house)


def test_a_plan_deeper_than_the_model_names_the_path(house: Running) -> None:
    space = {"learning_rate": [1e-4, 1e-3], "freeze_depth": {"low": 0, "high": 9}}
    response = planned(house, ScriptedWorker.inspect, space=space)
    (fault,) = response.json()["errors"]
    assert fault == {"path": "space.freeze_depth.high", "message": "the model has 6 blocks, so at most 6"}
    assert nothing_stored(house)


def test_a_plan_of_a_wrong_spec_reaches_no_worker(house: Running) -> None:
    assert paths(house.client.post("/v1/studies:plan", json=spec(parallel=0))) == {"parallel"}
    assert nothing_stored(house)


def test_without_a_worker_a_plan_says_so(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "NO_WORKER_SECONDS", 0.1)
    response = house.client.post("/v1/studies:plan", json=spec())
    assert "luthier worker" in problem(response, 503)["detail"]
    assert response.headers["retry-after"]
    assert nothing_stored(house)


def test_a_plan_does_not_take_its_name(house: Running) -> None:
    house.started(house.worker("other"))
    house.client.post("/v1/studies/s1/pause")
    assert planned(house, ScriptedWorker.inspect).status_code == 200
    assert [study["name"] for study in house.get("/v1/studies")["items"]] == ["s1"]


def test_auto_lengths_are_shown_as_numbers(house: Running, worker: ScriptedWorker) -> None:
    worker.inspection = INSPECTION.model_copy(update={"max_length": 96})

    def inspect(scripted: ScriptedWorker, a: Assignment) -> None:
        scripted.finish(a, inspection=worker.inspection.model_dump(mode="json"))

    body = planned(house, inspect).json()
    assert (body["space"]["max_length"], body["data"]["max_length"]) == (96, 96)
    house.started(worker, "sized", budget={"trials": 3})
    for number in range(3):
        trial = worker.take()
        assert (trial.params["max_length"], trial.inspection and trial.inspection.max_length) == (96, 96)
        if number == 0:
            own = {"params": house.trials("sized")[0]["params"] | {"max_length": 64}}
            refused = house.client.post("/v1/studies/sized/trials", json=own)
            assert problem(refused, 422)["errors"][0]["path"] == "params.max_length"
        worker.train(trial)
    measured = worker.take(AssignmentKind.EVALUATE)
    assert measured.params["max_length"] == 96
    assert [trial["params"]["max_length"] for trial in house.trials("sized")] == [96, 96, 96]
    study = house.study("sized")
    assert study["data"]["max_length"] == 96
    assert "max_length" not in study["spec"]["space"]
