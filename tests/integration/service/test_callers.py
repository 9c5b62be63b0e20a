"""Who a request's caller is, what its scopes open, and which project it is about."""

from collections.abc import Iterator
from typing import Any

import pytest

from luthier.service.api.needs import NEEDS, Need
from luthier.service.api.route_table import RouteTable
from luthier.service.caller import Scope
from luthier.service.server.app import Tokens
from tests.support.harness import Running, problem, running
from tests.support.tokens import USER, WORKER, ask, made

PEOPLE: dict[str, dict[str, Any]] = {"anna": {"project": "vision"}, "root": {"scopes": ["admin"]}}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, WORKER)) as house:
        yield house


def test_every_route_says_what_it_asks(guarded: Running) -> None:
    lines = RouteTable(guarded.app).lines()
    assert len(lines) > 100
    undeclared = [line for line in lines if line not in NEEDS]
    assert not undeclared, f"add to service/api/needs.py what they ask: {undeclared}"
    gone = set(NEEDS) - set(lines)
    assert not gone, f"take these from service/api/needs.py: {gone}"
    changing = [line for line, need in NEEDS.items() if need is Need.READ and not line.startswith(("GET ", "* "))]
    assert not changing, f"these change something, and ask for no more than read: {changing}"


def test_a_scope_opens_what_it_includes(guarded: Running) -> None:
    cases = (
        (Scope.READ, (200, 403, 403, 403)),
        (Scope.WRITE, (200, 422, 403, 403)),
        (Scope.WORKER, (403, 403, 422, 403)),
        (Scope.ADMIN, (200, 422, 403, 200)),
    )
    routes = (("GET", "/v1/studies"), ("POST", "/v1/studies"), ("POST", "/v1/worker/claim"), ("GET", "/projects"))
    for scope, statuses in cases:
        secret = made(guarded, f"one-{scope}", scopes=[scope])["secret"]
        assert tuple(ask(guarded, *route, secret).status_code for route in routes) == statuses, scope
    told = problem(ask(guarded, "DELETE", "/v1/studies/s1", made(guarded, "reader")["secret"]), 403)["detail"]
    assert "needs the scope write" in told
    assert "`luthier token create NAME --scope write`" in told


def test_a_request_is_about_its_tokens_project_or_the_one_that_it_names(guarded: Running) -> None:
    person, admin = (made(guarded, name, **fields)["secret"] for name, fields in PEOPLE.items())
    for path in ("/v1/studies", "/v1/schedules", "/v1/datasets", "/v1/workers", "/v1/tasks", "/"):
        for query, of_person, of_admin in (
            ("", 200, 200),
            ("?project=vision", 200, 200),
            ("?project=speech", 403, 200),
            ("?project=No_Name", 422, 422),
            ("?project=", 422, 422),
            ("?project=vision&project=speech", 422, 422),
        ):
            assert ask(guarded, "GET", path + query, person).status_code == of_person, (path, query)
            assert ask(guarded, "GET", path + query, admin).status_code == of_admin, (path, query)
    refused = problem(ask(guarded, "GET", "/v1/studies?project=speech", person), 403)["detail"]
    assert "The token anna is of the project vision, and may not use speech" in refused
