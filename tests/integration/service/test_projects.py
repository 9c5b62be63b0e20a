"""Projects: their names, shares and limits, and that nothing of one is reached from another."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from luthier.service.api.route_table import RouteTable
from luthier.service.caller import acting, service_in
from luthier.service.server.app import Tokens
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import AssignmentKind
from tests.support.event_streams import listening
from tests.support.harness import Running, ScriptedWorker, optuna_trials, problem, running, spec
from tests.support.many_rows import add_schedule
from tests.support.nightly import Nightly, schedule
from tests.support.projects import make_projects, working_in
from tests.support.tokens import ask, made
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


@pytest.mark.both_databases
def test_a_project_is_made_changed_shown_and_deleted(house: Running) -> None:
    told = problem(house.client.post("/v1/studies?project=one", json=spec()), 404)["detail"]
    assert told == (
        "There is no project one; an admin makes it with `luthier project set one`, and `luthier project list` shows "
        "those you may use."
    )
    for path, body in (("/v1/schedules", {"json": schedule()}), ("/v1/datasets", {"files": {"file": ("a.csv", CSV)}})):
        problem(house.client.post(f"{path}?project=one", **body), 404)
    limits = {"weight": 2.5, "priority": -3, "max_parallel": 4, "max_gpu_seconds": 1000.0}
    made = house.client.put("/v1/projects/one", json=limits)
    assert made.status_code == 201
    assert made.json() == made.json() | limits | {"name": "one", "studies": 0, "running_trials": 0, "gpu_seconds": 0.0}
    with working_in(house, "one"):
        house.started(worker := house.worker(), budget={"trials": 2})
        worker.train(worker.take())
        worker.take()
    view = house.get("/v1/projects/one")
    assert (view["studies"], view["running_trials"]) == (1, 1)
    assert view["gpu_seconds"] > 0
    again = house.client.put("/v1/projects/one", json={"priority": 1})
    assert again.status_code == 200
    changed = {"weight": 1.0, "priority": 1, "max_parallel": None, "max_gpu_seconds": None}
    assert again.json() == view | changed
    assert [item["name"] for item in house.get("/v1/projects")["items"]] == ["default", "one"]
    assert house.get("/v1/projects?limit=1")["next_cursor"]
    assert "studies: 1" in problem(house.client.delete("/v1/projects/one"), 409)["detail"]
    with working_in(house, "one"):
        house.client.post("/v1/studies/s1/cancel")
        assert house.client.delete("/v1/studies/s1").status_code == 204
    assert house.client.delete("/v1/projects/one").status_code == 204
    problem(house.client.get("/v1/projects/one"), 404)
    problem(house.client.delete("/v1/projects/one"), 404)
    assert "always there" in problem(house.client.delete("/v1/projects/default"), 409)["detail"]
    assert house.client.put("/v1/projects/default", json={"max_parallel": 2}).json()["max_parallel"] == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"weight": 0}', "weight"),
        ('{"weight": -1}', "weight"),
        ('{"weight": 1e999}', "weight"),
        ('{"weight": 1e9}', "weight"),
        ('{"weight": "2"}', "weight"),
        ('{"priority": 101}', "priority"),
        ('{"priority": 1.5}', "priority"),
        ('{"priority": true}', "priority"),
        ('{"max_parallel": 0}', "max_parallel"),
        ('{"max_parallel": 99999999999}', "max_parallel"),
        ('{"max_gpu_seconds": 0}', "max_gpu_seconds"),
        ('{"max_gpu_seconds": -1e-9}', "max_gpu_seconds"),
        ('{"quota": 3}', "quota"),
    ],
)
def test_a_wrong_limit_is_refused_with_its_path(house_sqlite: Running, body: str, path: str) -> None:
    answer = house_sqlite.client.put("/v1/projects/one", content=body, headers={"Content-Type": "application/json"})
    assert [error["path"] for error in problem(answer, 422)["errors"]] == [path]
    problem(house_sqlite.client.get("/v1/projects/one"), 404)


@pytest.mark.parametrize("name", ["Team", "a_b", "-a", "a" * 64, "a b", "%00", "%C3%A9"])
def test_a_project_has_a_plain_name(house_sqlite: Running, name: str) -> None:
    problem(house_sqlite.client.put(f"/v1/projects/{name}", json={}), 422)
    problem(house_sqlite.client.get(f"/v1/projects/{name}"), 404)
    problem(house_sqlite.client.delete(f"/v1/projects/{name}"), 404)


def test_pages_switch_between_projects_and_make_them(house_sqlite: Running) -> None:
    house = house_sqlite
    assert "Show project" not in house.client.get("/").text
    wrong = house.client.post("/projects", data={"name": "team-a", "weight": "much", "max_parallel": "0"})
    assert wrong.status_code == 422
    assert wrong.text.count('aria-invalid="true"') == 2
    assert 'value="much"' in wrong.text
    assert house.client.post("/projects", data={"name": "Team A"}).status_code == 422
    made = house.client.post("/projects", data={"name": "team-a", "weight": "3", "max_parallel": "2"})
    assert (made.status_code, made.headers["location"]) == (303, "/projects")
    assert house.get("/v1/projects/team-a")["weight"] == 3.0
    house.create("everyones")
    try:
        switched = house.client.post("/project", data={"project": "team-a"})
        assert (switched.status_code, switched.headers["location"]) == (303, "/")
        house.client.cookies = switched.cookies
        page = house.client.get("/").text
        assert "<option selected>team-a</option>" in page
        assert "everyones" not in page
        assert house.client.get("/studies/everyones").status_code == 404
        assert house.get("/v1/studies?project=default")["items"][0]["name"] == "everyones", "an address says more"
        assert house.client.post("/project", data={"project": "No such"}).status_code == 403
    finally:
        house.client.cookies.clear()
    assert house.client.post("/projects/team-a/delete").status_code == 303
    assert house.client.post("/projects/team-a/delete").status_code == 404


def test_people_see_their_own_project_alone(tmp_path: Path) -> None:
    with running(tmp_path, None, Tokens("user-token-0123456789", None)) as house:
        make_projects(house, "one", "two")
        anna = made(house, "anna", scopes=["write"], project="one")["secret"]
        listed = ask(house, "GET", "/v1/projects", anna).json()["items"]
        assert [item["name"] for item in listed] == ["one"]
        assert ask(house, "GET", "/v1/projects/one", anna).status_code == 200
        problem(ask(house, "GET", "/v1/projects/two", anna), 404)
        problem(ask(house, "PUT", "/v1/projects/one", anna, json={}), 403)
        problem(ask(house, "DELETE", "/v1/projects/two", anna), 403)
        assert ask(house, "POST", "/v1/studies", anna, json=spec()).json()["project"] == "one"
        assert ask(house, "GET", "/projects", anna).status_code == 403
        assert "project one" in ask(house, "GET", "/", anna).text
        assert ask(house, "POST", "/project", anna, data={"project": "two"}).status_code == 403
        with house.core.database.reading() as session:
            assert session.scalar(select(StudyRow.owner)) == "anna"
        assert "valid tokens: 1" in problem(house.client.delete("/v1/projects/one"), 409)["detail"]
        assert house.client.delete("/v1/projects/two").status_code == 204
