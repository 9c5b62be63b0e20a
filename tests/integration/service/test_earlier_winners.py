"""The model that an extended study keeps from its winner before: whose it is, its own scores, and what it answers."""

import threading
from typing import Any

import pytest

from luthier import Client
from luthier.service.cli.model_facts import model_facts
from luthier.service.cli.own_service import OwnService
from luthier.service.cli.run import search
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, ScriptedWorker, problem
from tests.support.sampled import INTERVAL, sampling

pytestmark = pytest.mark.both_databases
ROWS = b"text\nlovely\n"
FAULT = {"problem": {"message": "A library is damaged."}, "reason": "error"}


def extended(house: Running, worker: ScriptedWorker) -> dict[str, Any]:
    """Return a study as it was when trial 0 had won and was measured; then trial 1 beats it in an extension."""
    worker.evaluation = {"sampling": sampling(12, 3)}
    house.create(budget={"trials": 1}, parallel=1)
    worker.drain()
    before = house.study()
    house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 3}}).raise_for_status()
    worker.score = lambda params, step: 0.9
    worker.train(worker.take())
    return before


def predicted(house: Running) -> dict[str, Any]:
    asked = house.client.post("/v1/studies/s1/predict?format=csv", content=ROWS)
    assert asked.status_code == 202, asked.text
    return dict(asked.json())


def test_the_model_of_an_extended_and_cancelled_study_is_told_with_its_scores(
    house: Running, worker: ScriptedWorker
) -> None:
    before = extended(house, worker)
    assert (before["model"]["trial"], before["model"]["is_earlier"]) == (0, False)
    assert before["model"]["test"] == before["best"]["test"] == {"accuracy": 0.75, "loss": 0.4}
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    study = house.study()
    assert (study["state"], study["best"]["trial"], study["best"]["test"]) == ("cancelled", 1, None)
    assert study["model"] == before["model"] | {"is_earlier": True}
    shown = house.client.get("/studies/s1").text
    assert "Model of trial 0" in shown
    assert "that of trial 0, the winner before the study was extended: accuracy 0.75" in " ".join(shown.split())
    with Client(house.url) as client:
        facts = model_facts(client.get("s1"))
    assert "of trial 0, the winner before the study was extended" in str(facts["model"])
    assert "accuracy 0.75" in str(facts["model's test"])
    house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 4}}).raise_for_status()
    assert "of an earlier end, of trial 0" in house.study()["message"]
    assert house.study()["model"] == study["model"]


def test_a_winner_that_is_being_measured_has_nothing_of_the_one_before(house: Running, worker: ScriptedWorker) -> None:
    """Neither the noise of its scores, nor its tables, nor its answers."""
    before = extended(house, worker)
    worker.train(worker.take())
    evaluation = worker.take(AssignmentKind.EVALUATE)
    study = house.study()
    told = {key for key, value in study["best"].items() if value is not None}
    assert (study["best"]["trial"], told) == (1, {"trial", "value", "params"})
    assert study["model"] == before["model"] | {"is_earlier": True}
    results = house.get("/v1/studies/s1/results")
    assert (results["trial"], results["is_earlier"]) == (0, True)
    asked = predicted(house)
    assert asked["trial"] == 0
    worker.evaluate(evaluation)
    study = house.study()
    assert (study["model"]["trial"], study["model"]["is_earlier"], study["model"]["test_looks"]) == (1, False, 2)
    results = house.get("/v1/studies/s1/results")
    assert (results["trial"], results["is_earlier"]) == (1, False)
    assert predicted(house)["trial"] == 1
    first, second = (worker.take(AssignmentKind.PREDICT) for _ in range(2))
    packed = [next(file for file in a.files if file.name == "model.tar.gz") for a in (first, second)]
    assert [file.sha256 for file in packed] == [before["model"]["sha256"], study["model"]["sha256"]]
    assert first.params["learning_rate"] == house.trials()[0]["params"]["learning_rate"]
    for a in (first, second):
        worker.predict(a)
    states = [item["state"] for item in house.get("/v1/studies/s1/predictions")["items"]]
    assert states == ["complete", "complete"]


def test_run_measures_the_winner_of_an_extension_again(house: Running, worker: ScriptedWorker) -> None:
    extended(house, worker)
    worker.train(worker.take())
    worker.finish(worker.take(AssignmentKind.EVALUATE), "failed", **FAULT)
    failed = house.study()
    assert (failed["state"], failed["model"]["trial"]) == ("failed", 0)
    assert "Measure the winner again" in house.client.get("/studies/s1").text
    working = threading.Thread(target=lambda: worker.drain(wait_seconds=1.0))
    with Client(house.url) as client:
        study = search(OwnService(client, None), lambda: client.get("s1"), lambda _: working.start())
    assert study.state.value == "completed"
    assert study.model is not None
    assert study.model.trial == 1
    working.join(30)


@pytest.mark.full
def test_run_shows_a_study_that_failed_otherwise(house: Running, worker: ScriptedWorker) -> None:
    """Nothing of it can be measured: `resume` is refused, and the study is shown as it is."""
    extended(house, worker)
    with house.core.database.transaction() as session:
        row = session.get_one(StudyRow, 1)
        row.state, row.error, row.finished_at = "failed", "Away for good.", row.created_at
    with Client(house.url) as client:
        study = search(OwnService(client, None), lambda: client.get("s1"))
    assert (study.state.value, study.error) == ("failed", "Away for good.")


@pytest.mark.full
def test_a_model_whose_trial_is_not_known_answers_nothing(house: Running, worker: ScriptedWorker) -> None:
    extended(house, worker)
    with house.core.database.transaction() as session:
        row = session.get_one(StudyRow, 1)
        assert row.earlier is not None
        assert row.earlier.noise is not None
        assert row.earlier.noise.interval is not None
        assert row.earlier.noise.interval.low == INTERVAL["low"]
        row.earlier = type(row.earlier)(trial=None)
    assert house.study()["model"]["trial"] is None
    refused = problem(house.client.post("/v1/studies/s1/predict?format=csv", content=ROWS), 409)["detail"]
    assert "its trial is not known" in refused
    problem(house.client.get("/v1/studies/s1/results"), 409)
    assert "Model (" in house.client.get("/studies/s1").text


@pytest.mark.full
def test_a_prediction_that_is_cancelled_says_by_what(house: Running, worker: ScriptedWorker) -> None:
    extended(house, worker)
    asked = predicted(house)
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    path = f"/v1/studies/s1/predictions/{asked['id']}"
    found = house.get(path)
    assert found["state"] == "cancelled"
    assert found["error"].startswith("It was cancelled with its study, by a cancel of s1. Send the table again")
    assert predicted(house)["trial"] == 0
    assert house.trials()[-1]["error"] is None
    with house.core.database.transaction() as session:
        session.get_one(AssignmentRow, asked["id"]).error = None
    assert "Send the table again" in house.get(path)["error"]  # cancelled by an older version
    worker.drain()
    assert house.client.get("/v1/studies/s1/predictions").json()["items"][0]["state"] == "complete"


@pytest.mark.full
def test_a_report_tells_the_two_winners_apart(house: Running, worker: ScriptedWorker) -> None:
    extended(house, worker)
    report = house.client.get("/v1/studies/s1/report").text
    assert "Winner: trial 1" in report
    assert "Model: that of trial 0, the winner before the study was extended" in report


@pytest.mark.full
def test_a_damaged_row_of_it_fails_nothing(house: Running, worker: ScriptedWorker) -> None:
    extended(house, worker)
    with house.core.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE luthier_study SET earlier = '{\"of\": 1}'")
    study = house.study()
    assert (study["model"]["trial"], study["model"]["is_earlier"]) == (None, True)
