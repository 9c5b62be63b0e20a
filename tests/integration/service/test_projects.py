"""Projects: made, changed, shown and deleted by admins, over REST and on a page."""

from pathlib import Path

import pytest
from sqlalchemy import select

from luthier.service.server.app import Tokens
from luthier.service.storage.tables import StudyRow
from tests.support.harness import Running, problem, running, spec
from tests.support.nightly import schedule
from tests.support.projects import make_projects, working_in
from tests.support.tokens import ask, made
from tests.support.uploads import CSV


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
