"""Every route of REST: the query parameters and the methods that it takes, against what the OpenAPI document says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier import Client
from tests.support.harness import Running, problem, running

METHODS = {"delete", "get", "patch", "post", "put"}
VALUES = {"action": "pause", "kind": "history", "id": "csv-" + "0" * 32}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None) as service:
        service.create("s1")
        yield service


@pytest.fixture(scope="module")
def routes(house: Running) -> dict[str, dict[str, Any]]:
    """Path -> method -> operation, of the routes of REST."""
    paths = house.get("/openapi.json")["paths"]
    return {path: item for path, item in paths.items() if path.startswith("/v1/")}


def filled(template: str) -> str:
    named = template.replace("/studies/{name}", "/studies/s1")
    return re.sub(r"\{([^}]*)\}", lambda match: VALUES.get(match[1], "1"), named)


def test_every_route_refuses_query_parameters_that_it_does_not_declare(
    house: Running, routes: dict[str, dict[str, Any]]
) -> None:
    seen = 0
    for template, item in routes.items():
        for method, operation in item.items():
            answer = house.client.request(method, filled(template), params={"no_such": 1})
            refused = problem(answer, 422)
            assert [error["path"] for error in refused["errors"]] == ["no_such"], template
            names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
            told = refused["detail"].removeprefix("no_such: unknown query parameter; ")
            assert told == (f"there are {', '.join(names)}" if names else "there are none here")
            assert "422" in operation["responses"]
            seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/studies?stat=running", "stat: unknown query parameter; did you mean state?"),
        ("/v1/studies/s1/trials?limits=3", "limits: unknown query parameter; did you mean limit?"),
        ("/v1/studies/s1/events?last_event=1", "last_event: unknown query parameter; did you mean last_event_id?"),
        ("/v1/studies/s1/plots/history?fmt=png&standalon=1", "did you mean standalone?"),
    ],
)
def test_one_that_is_misspelled_is_named_with_what_was_meant(house: Running, path: str, said: str) -> None:
    assert said in problem(house.client.get(path), 422)["detail"]


def test_pages_and_the_dashboard_take_what_they_took(house: Running) -> None:
    for path in ("/?utm_source=mail", "/studies/s1?utm_source=mail", "/dashboard?x=1", "/healthz?x=1"):
        assert house.client.get(path).status_code == 200, path


def test_the_links_of_the_pages_lead_to_answers(house: Running) -> None:
    for page in ("/", "/studies/s1", "/workers", "/schedules", "/data", "/new"):
        for link in re.findall(r'(?:href|src|action|hx-get)="(/v1/[^"]*\?[^"]*)"', house.client.get(page).text):
            assert house.client.get(link.replace("&amp;", "&")).status_code != 422, link


def test_short_lists_are_cut_into_pages_too(house: Running) -> None:
    with Client(house.url) as client:
        names = [task.name for task in client.tasks()]
    first = house.get("/v1/tasks?limit=3")
    rest = house.get(f"/v1/tasks?cursor={first['next_cursor']}")
    assert [task["name"] for task in first["items"] + rest["items"]] == names
    assert (len(first["items"]), rest["next_cursor"]) == (3, None)
    house.worker("w1").claim()
    assert [worker["name"] for worker in house.get("/v1/workers?limit=500")["items"]] == ["w1"]


def test_every_path_names_the_methods_that_it_takes(house: Running, routes: dict[str, dict[str, Any]]) -> None:
    for template, item in routes.items():
        for method in METHODS - set(item):
            refused = house.client.request(method, filled(template))
            problem(refused, 405)
            assert refused.headers["allow"] == ", ".join(sorted(map(str.upper, item))), (method, template)


def test_a_word_that_is_no_action_is_nothing(house: Running) -> None:
    assert "/v1/studies/s1/dance" in problem(house.client.post("/v1/studies/s1/dance"), 404)["detail"]
    assert house.client.post("/v1/studies/s1/cancel").status_code == 200


def test_the_client_sends_what_is_declared(house: Running, tmp_path: Path) -> None:
    """Its listings, and what asks with parameters of its own."""
    with Client(house.url) as client:
        assert [study.name for study in client.list("cancelled")] == ["s1"]
        assert list(client.trials("s1", sort="-number")) == []
        assert list(client.workers()) == list(client.workers())
        assert list(client.schedules()) == list(client.datasets()) == list(client.predictions("s1")) == []
        assert client.export_bundle("s1", tmp_path / "s1.zip").is_file()
