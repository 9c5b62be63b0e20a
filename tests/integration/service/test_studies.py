"""/v1/studies: made, listed, asked to pause or end, deleted; the winner's model."""

import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

from luthier.service.settings import Settings
from luthier.service.storage.tables import StudyRow
from luthier.studies.documents import MAX_BYTES
from luthier.studies.protocol import AssignmentKind, TrialState
from luthier.studies.semantics import NEWEST_SEMANTICS
from tests.support.harness import Running, ScriptedWorker, paths, problem, spec

pytestmark = pytest.mark.both_databases


def test_a_study_is_created_once(house: Running) -> None:
    first = house.client.post("/v1/studies", json=spec())
    assert first.status_code == 201
    assert first.headers["location"] == "/v1/studies/s1"
    study = first.json()
    assert study["state"] == "queued"
    assert study["best"] is None
    assert study["model"] is None
    assert study["counts"] == dict.fromkeys(TrialState, 0)
    assert study["spec"]["model"] == "models/tiny", "defaults are shown"
    assert study["spec"]["seed"] == 0, "defaults are shown"
    assert study["created_at"].endswith("Z")

    again = house.client.post("/v1/studies", json=spec())
    assert again.status_code == 200
    assert again.json() == study

    other = house.client.post("/v1/studies", json=spec(parallel=3))
    assert "another name" in problem(other, 409)["detail"]
    assert house.client.get("/v1/studies/s1").json() == study


def test_a_study_keeps_the_semantics_that_it_began_with(house: Running) -> None:
    study = house.client.post("/v1/studies", json=spec(semantics=99)).json()
    assert study["spec"]["semantics"] == NEWEST_SEMANTICS, "what users write is ignored"
    assert house.client.post("/v1/studies", json=study["spec"]).status_code == 200
    with house.core.database.transaction() as session:  # as an older version stored it
        row = session.scalars(sqlalchemy.select(StudyRow)).one()
        row.spec = row.spec.with_semantics(1)
    again = house.client.post("/v1/studies", json=spec())
    assert again.status_code == 200
    assert "semantics" not in again.json()["spec"]
    assert house.client.post("/v1/studies", json=spec("s2")).json()["spec"]["semantics"] == NEWEST_SEMANTICS


def test_the_same_spec_posted_by_many_at_once_is_one_study(house: Running) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: house.client.post("/v1/studies", json=spec()).status_code, range(6)))
    assert sorted(answers) == [200] * 5 + [201]


def test_a_spec_may_be_yaml(house: Running) -> None:
    text = yaml.safe_dump(spec()).replace("1.0e-06", "1e-6")
    response = house.client.post("/v1/studies", content=text, headers={"content-type": "application/yaml"})
    assert response.status_code == 201, response.text
    assert house.client.post("/v1/studies", json=spec()).status_code == 200


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"color": "blue"}, "color"),
        ({"name": "Not A Name"}, "name"),
        ({"parallel": 0}, "parallel"),
        ({"space": {"learning_rate": {"low": 1, "high": 0.1}}}, "space.learning_rate.low"),
        ({"space": {"lr": 1}}, "space.lr"),
        ({"budget": {"trials": 0}}, "budget.trials"),
        ({"budget": {"target": 0.5}}, "budget"),
        ({"pruner": {"name": "axe"}}, "pruner.name"),
        ({"objective": {"metric": "bleu"}}, "objective.metric"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_path(house_sqlite: Running, changes: dict[str, Any], path: str) -> None:
    assert path in paths(house_sqlite.client.post("/v1/studies", json=spec(**changes)))
    assert house_sqlite.get("/v1/studies")["items"] == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", ".inf", "1" + "0" * 400])
def test_numbers_that_are_not_finite_are_refused(house_sqlite: Running, number: str) -> None:
    text = json.dumps(spec(space={"learning_rate": {"low": 1e-6, "high": "HERE"}})).replace('"HERE"', number)
    assert paths(house_sqlite.client.post("/v1/studies", content=text)) == {"space.learning_rate.high"}
    text = json.dumps(spec(budget={"trials": 3, "target": "HERE"})).replace('"HERE"', number)
    assert paths(house_sqlite.client.post("/v1/studies", content=text)) == {"budget.target"}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff\xfe", b"name: a\nname: b", b"a: &a [*a]", b"[" * 5000, b"a: 2020-01-01", b"\0"],
)
def test_a_body_that_is_no_spec_is_refused(house_sqlite: Running, body: bytes) -> None:
    problem(house_sqlite.client.post("/v1/studies", content=body), 422)


def test_a_spec_has_at_most_256_kilobytes(house_sqlite: Running) -> None:
    large = yaml.safe_dump(spec()) + "#" * MAX_BYTES
    problem(house_sqlite.client.post("/v1/studies", content=large), 413)
    exact = yaml.safe_dump(spec()) + "\n"
    fitting = exact + "#" * (MAX_BYTES - len(exact))
    assert house_sqlite.client.post("/v1/studies", content=fitting).status_code == 201


def test_what_does_not_exist_is_a_problem(house: Running) -> None:
    for method, path in [
        ("GET", "/v1/studies/none"),
        ("DELETE", "/v1/studies/none"),
        ("POST", "/v1/studies/none/pause"),
        ("GET", "/v1/studies/none/trials"),
        ("GET", "/v1/studies/none/model"),
        ("GET", "/v1/studies/none/plots/history"),
        ("GET", "/v1/studies/%00"),
        ("GET", "/v1/nothing"),
        ("GET", "/nothing"),
    ]:
        problem(house.client.request(method, path), 404)
    assert "/docs" in problem(house.client.get("/v1/nothing"), 404)["detail"]


def test_a_method_that_a_path_has_not_names_those_that_it_has(house: Running) -> None:
    refused = house.client.put("/v1/studies/s1")
    assert problem(refused, 405)["detail"] == "PUT cannot be used at /v1/studies/s1; it takes DELETE or GET or PATCH."
    assert refused.headers["allow"] == "DELETE, GET, PATCH"


def test_the_list_is_filtered_by_state(house: Running) -> None:
    house.finished("done", budget={"trials": 1})
    house.create("waiting")
    assert [study["name"] for study in house.get("/v1/studies")["items"]] == ["waiting", "done"]
    assert [study["name"] for study in house.get("/v1/studies?state=completed")["items"]] == ["done"]
    assert house.get("/v1/studies?state=paused") == {"items": [], "next_cursor": None}
    assert paths(house.client.get("/v1/studies?state=happy")) == {"state"}


def test_pages_are_stable_while_studies_are_added(house: Running) -> None:
    for i in range(5):
        house.create(f"s{i}")
    page = house.get("/v1/studies?limit=2")
    house.create("newer")
    names = [study["name"] for study in page["items"]]
    while page["next_cursor"]:
        page = house.get(f"/v1/studies?limit=2&cursor={page['next_cursor']}")
        names += [study["name"] for study in page["items"]]
    assert names == ["s4", "s3", "s2", "s1", "s0"]


@pytest.mark.parametrize("cursor", ["x", "-1", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "%00", "a" * 65, "w6k"])
def test_a_cursor_of_someone_else_is_refused(house_sqlite: Running, cursor: str) -> None:
    assert paths(house_sqlite.client.get(f"/v1/studies?cursor={cursor}")) == {"cursor"}


def test_a_paused_study_starts_no_trial(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    running = worker.take()
    assert house.client.post("/v1/studies/s1/pause").json()["state"] == "paused"
    assert worker.claim() is None
    worker.train(running)  # what runs goes on
    assert house.study()["counts"]["complete"] == 1
    assert worker.claim() is None
    problem(house.client.post("/v1/studies/s1/pause"), 409)
    assert house.client.post("/v1/studies/s1/resume").json()["state"] == "running"
    worker.drain()
    assert house.study()["state"] == "completed"
    assert house.study()["counts"]["complete"] == 4


@pytest.mark.full
def test_a_stopped_study_measures_its_winner(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    running = worker.take()
    stopping = house.client.post("/v1/studies/s1/stop")
    assert stopping.status_code == 200
    assert stopping.json()["state"] == "stopping"
    assert worker.claim() is None, "a stopping study starts no trial"
    worker.train(running)
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    study = house.study()
    assert study["state"] == "stopped"
    assert study["counts"]["complete"] == 1
    assert study["model"]
    assert study["best"]["test"] == {"accuracy": 0.75, "loss": 0.4}
    assert study["finished_at"]
    assert study["message"] == "Stopped on request."


def test_a_cancelled_study_ends_at_once(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker)
    worker.train(worker.take())
    worker.take()
    study = house.client.post("/v1/studies/s1/cancel").json()
    assert study["state"] == "cancelled"
    assert study["counts"]["cancelled"] == 1
    assert study["counts"]["running"] == 0
    assert worker.claim() is None
    assert not [trial for trial in house.optuna() if not trial.state.is_finished()], "Optuna knows"


def test_actions_that_make_no_sense_are_conflicts(house: Running) -> None:
    house.create("waiting")
    for action in ("pause", "resume"):
        problem(house.client.post(f"/v1/studies/waiting/{action}"), 409)
    problem(house.client.delete("/v1/studies/waiting"), 409)
    house.finished("done", budget={"trials": 1})
    for action in ("pause", "resume", "stop", "cancel"):
        assert "completed" in problem(house.client.post(f"/v1/studies/done/{action}"), 409)["detail"]
    assert house.client.post("/v1/studies/waiting/dance").status_code in (404, 405, 422)


@pytest.mark.full
def test_a_study_is_told_by_its_rows(house: Running) -> None:
    study = house.finished()
    trials = house.trials()
    best = max(trials, key=lambda trial: (trial["value"], -trial["number"]))
    assert study["state"] == "completed"
    assert study["counts"]["complete"] == 4
    assert study["error"] is None
    assert study["best"] == {
        "trial": best["number"],
        "value": best["value"],
        "params": best["params"],
        "test": {"accuracy": 0.75, "loss": 0.4},
        "test_looks": 1,
        **dict.fromkeys(("standard_error", "interval", "gain", "note")),  # this worker does not measure them
    }
    assert study["baseline"] == {"trial": 0, "value": trials[0]["value"], "test": None, "interval": None}
    assert trials[0]["params"] == {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3, "freeze_depth": 0}
    assert study["gpu_seconds"] == pytest.approx(sum(trial["seconds"] for trial in trials))
    assert study["created_at"] < study["finished_at"]


def test_the_winner_is_downloaded_as_it_was_packed(house: Running) -> None:
    house.create()
    problem(house.client.get("/v1/studies/s1/model"), 404)
    house.worker().drain()
    study = house.study()
    response = house.client.get(study["model"]["url"])
    assert response.status_code == 200
    assert hashlib.sha256(response.content).hexdigest() == study["model"]["sha256"]
    assert len(response.content) == study["model"]["bytes"]
    assert "s1.tar.gz" in response.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
        provenance = json.load(archive.extractfile("luthier.json"))  # type: ignore[arg-type]
        weights = archive.extractfile("model.safetensors").read().decode()  # type: ignore[union-attr]
    assert provenance["trial"] == study["best"]["trial"]
    assert provenance["validation"]["accuracy"] == study["best"]["value"]
    assert weights == f"weights {study['best']['trial']} {provenance['best_step']}"


def test_delete_leaves_nothing_and_frees_the_name(house: Running, settings: Settings) -> None:
    house.finished()
    house.finished("other", budget={"trials": 1})
    assert house.client.delete("/v1/studies/s1").status_code == 204
    problem(house.client.get("/v1/studies/s1"), 404)
    assert [study["name"] for study in house.get("/v1/studies")["items"]] == ["other"]
    kept = [path for path in Path(settings.home, "store").iterdir() if path.is_dir()]
    assert kept
    assert all(path.name.startswith("2-") for path in kept)
    with pytest.raises(KeyError):
        house.optuna()
    again = house.finished(budget={"trials": 2})
    assert again["counts"]["complete"] == 2
    assert len(house.optuna()) == 2


def test_a_body_that_is_too_large_is_refused(house_sqlite: Running) -> None:
    """Except for workers' files, which have the size they have."""
    answer = house_sqlite.client.post("/v1/worker/finish", content=b" " * (8 * 2**20 + 1))
    assert problem(answer, 413)["title"]
