"""Nothing of a project is reached from another: by no route, page, list, stream, schedule or data set."""

import re
from typing import Any

import pytest

from luthier.service.api.route_table import RouteTable
from luthier.service.caller import acting, service_in
from luthier.studies.protocol import AssignmentKind
from tests.support.event_streams import listening
from tests.support.harness import Running, ScriptedWorker, optuna_trials, problem, spec
from tests.support.many_rows import add_schedule
from tests.support.nightly import Nightly
from tests.support.projects import make_projects, working_in
from tests.support.uploads import CSV, stored, upload

BODIES: dict[str, dict[str, Any]] = {  # a route -> a body that it would take
    "POST /v1/studies/{name}/extend": {"json": {"budget": {"trials": 9}}},
    "POST /v1/studies/{name}/trials": {"json": {"params": {}}},
    "POST /v1/studies/{name}/ask": {"json": {}},
    "POST /v1/studies/{name}/report": {"json": {"token": "x"}},
    "POST /v1/studies/{name}/tell": {"json": {"token": "x"}},
    "POST /v1/studies/{name}/predict": {"content": b"text\na\n", "headers": {"Content-Type": "text/csv"}},
    "PATCH /v1/studies/{name}": {"json": {"notes": "mine"}},
    "PATCH /v1/schedules/{name}": {"json": {"paused": True}},
    "POST /studies/{name}/change": {"data": {"etag": "x", "notes": "mine"}},
    "POST /studies/{name}/enqueue": {"data": {"learning_rate": "1e-4"}},
    "POST /studies/{name}/extend": {"data": {"trials": "9"}},
    "POST /studies/{name}/predict": {"files": {"file": ("a.csv", b"text\na\n")}},
}
VALUES = {"action": "pause", "kind": "history", "number": "0", "prediction_id": "1", "run_id": "1"}
# These lead to a page that looks for it.
LEADS_ON = {f"GET /studies/{{name}}/{page}" for page in ("successor", "trials/{number}/again", "onnx")}


def routes_with_names(house: Running) -> list[str]:
    """Each route that names a study, a schedule or a data set, as METHOD PATH."""
    named = re.compile(r"[A-Z]+ (/v1)?/(studies|schedules|data|datasets)/\{(name|id)\}.*")
    return [line for line in RouteTable(house.app).lines() if named.fullmatch(line)]


def filled(line: str, dataset: str) -> str:
    path = (
        line.partition(" ")[2]
        .replace("/studies/{name}", "/studies/s1")
        .replace("/schedules/{name}", "/schedules/nightly")
    )
    if line.startswith("POST /schedules/"):
        path = path.replace("{action}", "trigger")
    path = path.replace("{id}", dataset).replace("{action:verb}", "pause")
    return re.sub(r"\{([^}]*)\}", lambda match: VALUES[match[1]], path)


@pytest.mark.both_databases
def test_no_route_reaches_what_is_of_another_project(house: Running) -> None:
    make_projects(house, "one", "two")
    with working_in(house, "one"):
        dataset = upload(house)["id"]
        house.finished(budget={"trials": 1})
        with acting(service_in("one")):
            add_schedule(house, "nightly", 2)
        own = ("/v1/studies/s1", "/v1/schedules/nightly", f"/v1/datasets/{dataset}")
        before = [house.get(path) for path in own]
    routes = routes_with_names(house)
    assert len(routes) > 60
    for line in routes:
        with working_in(house, "two"):
            method, path = line.partition(" ")[0], filled(line, dataset)
            answer = house.client.request(method, path, **BODIES.get(line, {}))
            if line in LEADS_ON:
                answer = house.client.get(answer.headers["location"])
            assert answer.status_code == 404, (line, path, answer.status_code, answer.text[:300])
            assert "Did you mean" not in answer.text
    with working_in(house, "one"):
        assert [house.get(path) for path in own] == before, "none of it has changed anything"
        seen = [line for line in routes if line.startswith("GET ") and line not in LEADS_ON]
        known = [house.client.get(filled(line, dataset)).status_code for line in seen if not line.endswith("/events")]
        assert known.count(200) > 25, "its own people reach it by the same routes"


@pytest.mark.full
@pytest.mark.both_databases
def test_a_name_is_free_in_each_project(house: Running) -> None:
    make_projects(house, "one")
    for project, trials in (("default", 2), ("one", 1)):
        with working_in(house, project):
            study = house.finished(budget={"trials": trials})
            assert (study["project"], study["counts"]["complete"]) == (project, trials)
            assert house.client.post("/v1/studies", json=spec(budget={"trials": trials})).status_code == 200
            problem(house.client.post("/v1/studies", json=spec(budget={"trials": 9})), 409)
            assert [item["project"] for item in house.get("/v1/studies")["items"]] == [project]
            assert len(house.trials()) == trials
            assert 'id="to-s1"' in house.client.get("/").text
    url = house.settings.sqlalchemy_url
    searches = {"s1": 2, "one/s1": 1}
    assert {name: len(optuna_trials(url, name)) for name in searches} == searches
    with working_in(house, "one"):
        assert house.client.delete("/v1/studies/s1").status_code == 204
        assert house.get("/v1/studies")["items"] == []
        assert house.finished(budget={"trials": 1})["counts"]["complete"] == 1
    assert len(house.trials()) == 2


@pytest.mark.full
@pytest.mark.both_databases
def test_old_trials_are_those_of_a_study_of_the_same_project(house: Running) -> None:
    make_projects(house, "one")
    house.finished(budget={"trials": 2})
    with working_in(house, "one"):
        told = problem(house.client.post("/v1/studies", json=spec("s2", **{"from": {"study": "s1"}})), 422)
        assert "There is no study named s1" in told["detail"]
        assert house.client.get("/new?from=s1").status_code == 404
        house.finished(budget={"trials": 3})
        house.finished("s2", **{"from": {"study": "s1", "import": "trials"}, "budget": {"trials": 1}})
        assert house.study("s2")["taken_over"]["trials"] == 3


@pytest.mark.both_databases
def test_projects_with_the_same_content_share_its_files(house: Running, worker: ScriptedWorker) -> None:
    make_projects(house, "one", "two")
    ids = []
    for project in ("one", "two"):
        with working_in(house, project):
            told = problem(house.client.post("/v1/studies", json=spec(dataset={"source": "dataset:" + "0" * 16})), 422)
            assert f"in the project {project}" in told["detail"]
            table = upload(house, name=project)
            assert upload(house, status=200, name="again") == table
            assert (table["project"], table["name"]) == (project, project)
            ids.append(table["id"])
            house.create(dataset={"source": table["source"]})
            assert house.get(f"/v1/datasets/{table['id']}")["studies"] == ["s1"]
    assert ids[0] == ids[1]
    problem(house.client.post("/v1/studies", json=spec(dataset={"source": f"dataset:{ids[0]}"})), 422)
    assert f"luthier_dataset_bytes {float(len(CSV))}" in house.client.get("/metrics").text
    for _ in range(2):
        assignment = worker.take(AssignmentKind.INSPECT)
        assert [ref.id for ref in assignment.datasets] == ids[:1]
        worker.inspect(assignment)
    for project, left in (("one", [f"dataset-{ids[0]}"]), ("two", [])):
        with working_in(house, project):
            problem(house.client.delete(f"/v1/datasets/{ids[0]}"), 409)
            assert house.client.post("/v1/studies/s1/cancel").status_code == 200
            assert house.client.delete(f"/v1/datasets/{ids[0]}").status_code == 204
            assert [name for name in stored(house) if name.startswith("dataset-")] == left


@pytest.mark.full
@pytest.mark.both_databases
def test_runs_of_a_schedule_are_of_its_project(house: Running, worker: ScriptedWorker) -> None:
    make_projects(house, "one", "two")
    runs = {}
    for project in ("one", "two"):
        with working_in(house, project):
            nightly = Nightly(house, worker)
            assert nightly.run("a")["outcome"] == "first"
            assert nightly.run("b")["warm_start"]
            runs[project] = [run["study"] for run in nightly.runs()]
            assert {item["name"] for item in house.get("/v1/studies")["items"]} == set(runs[project])
            assert house.get("/v1/schedules")["items"][0]["project"] == project
            page = house.client.get("/schedules/nightly").text
            assert f'href="/studies/{runs[project][0]}"' in page
            assert house.client.delete("/v1/schedules/nightly").status_code == 204
    assert house.get("/v1/studies")["items"] == house.get("/v1/schedules")["items"] == []


@pytest.mark.full
@pytest.mark.both_databases
def test_streams_tell_of_their_own_project(house: Running, worker: ScriptedWorker) -> None:
    make_projects(house, "one", "two")
    with working_in(house, "one"), listening(house.client, "/v1/events") as stream:
        with working_in(house, "two"):
            house.finished("secret", budget={"trials": 1})
            assert house.client.delete("/v1/studies/secret").status_code == 204
        with working_in(house, "one"):
            house.finished("own", budget={"trials": 1})
            assert house.client.delete("/v1/studies/own").status_code == 204
        told = stream.until(lambda event: event.data.get("deleted") is True)
    assert {event.data.get("study", event.data.get("name")) for event in told} == {"own"}


@pytest.mark.full
@pytest.mark.both_databases
def test_workers_and_the_dashboard_name_no_study_of_another_project(house: Running, worker: ScriptedWorker) -> None:
    make_projects(house, "one", "two")
    with working_in(house, "one"):
        house.started(worker)
        worker.take()
        assert [(w["study"], w["trial"]) for w in house.get("/v1/workers")["items"]] == [("s1", 0)]
        (summary,) = house.get("/api/studies")["study_summaries"]
        assert summary["study_name"] == "s1"
        number = summary["study_id"]
        of_study = [f"/api/studies/{number}?after=0", f"/csv/{number}", f"/api/studies/{number}/plot/timeline"]
        assert [house.client.get(path).status_code for path in of_study] == [200] * 3
        assert house.client.get("/studies/s1/dashboard").headers["location"] == f"/dashboard/studies/{number}"
    with working_in(house, "two"):
        (shown,) = house.get("/v1/workers")["items"]
        assert (shown["state"], shown["study"], shown["trial"]) == ("busy", None, None)
        assert "another project" in house.client.get("/workers").text
        assert house.get("/api/studies")["study_summaries"] == []
        for path in (*of_study, f"/api/studies/000000000000{number}", "/api/studies/\u0661", f"/csv/{number}/"):
            assert house.client.get(path).status_code == 404, path
        assert house.client.get(f"/studies/-/{number}").headers["location"] == "/"
