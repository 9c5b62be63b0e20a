"""Every route with every kind of token: what the table of needs says, and never an error of the service itself."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from luthier.service.api.needs import NEEDS, Need
from luthier.service.caller import Scope, with_included
from luthier.service.server.app import Tokens
from tests.support.event_streams import beginning
from tests.support.harness import Running, problem, running
from tests.support.tokens import USER, ask, bearer, made

OPENS = {scope: {Need.OPEN, Need.ANY, *map(Need, with_included([scope]))} for scope in Scope}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None)) as house:
        house.create("there", budget={"trials": 1})
        yield house


def every_request() -> Iterator[tuple[str, str, Need]]:
    """(method, path, need) of every route, with values in the path that are nobody's."""
    for line, need in NEEDS.items():
        method, _, path = line.partition(" ")
        path = path.replace("{action:verb}", "pause").replace("{kind}", "history")
        yield method.replace("*", "GET"), re.sub(r"\{[^}]*\}", "1", path), need


def status(house: Running, method: str, path: str, secret: str, query: str = "") -> int:
    if method == "GET" and path.endswith("/events"):
        house.anyone.headers["Authorization"] = f"Bearer {secret}" if secret else ""
        try:
            return beginning(house.anyone, method, path + query).status_code
        finally:
            del house.anyone.headers["Authorization"]
    return ask(house, method, path + query, secret).status_code


FULL = (Scope.ADMIN, Scope.WRITE, Scope.READ)  # the dashboard is imported for them, which takes seconds


@pytest.mark.parametrize("scope", [pytest.param(s, marks=pytest.mark.full if s in FULL else ()) for s in Scope])
def test_a_scope_opens_its_routes_and_no_other(guarded: Running, scope: Scope) -> None:
    secret = made(guarded, f"walker-{scope}", scopes=[scope])["secret"]
    for method, path, need in every_request():
        answered = status(guarded, method, path, secret)
        assert answered < 500, (method, path, answered)
        if need in OPENS[scope]:
            assert answered not in (401, 403), (method, path, need)
        else:
            assert answered == 403, (method, path, need, answered)


def test_without_a_live_token_nothing_opens_but_what_is_open(guarded: Running) -> None:
    revoked = made(guarded, "walker-revoked", scopes=["admin", "worker"])
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    expired = made(guarded, "walker-expired", scopes=["admin", "worker"], expires_at=soon)
    guarded.client.delete(f"/v1/tokens/{revoked['id']}")
    guarded.move_clock(3601)
    guarded.app.state.service.tokens.forget()
    try:
        for secret in ("", "luthier_unknown", revoked["secret"], expired["secret"]):
            for method, path, need in every_request():
                answered = status(guarded, method, path, secret)
                assert answered < 500, (method, path, answered)
                assert (answered == 401) == (need is not Need.OPEN), (method, path, answered)
    finally:
        guarded.move_clock(-3601)
        guarded.app.state.service.tokens.forget()


def test_a_token_of_another_project_may_name_no_other(guarded: Running) -> None:
    secret = made(guarded, "walker-other", scopes=["write"], project="other")["secret"]
    for method, path, need in every_request():
        answered = status(guarded, method, path, secret, "?project=default")
        if need in (Need.OPEN, Need.WORKER):
            continue
        assert answered == 403, (method, path, need, answered)


def test_a_database_that_is_away_is_told_with_when_to_come_again(guarded: Running) -> None:
    person = made(guarded, "outage", scopes=["write"])["secret"]

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM luthier_token" in statement:
            raise OperationalError(statement, {}, Exception("away"))

    guarded.app.state.service.tokens.forget()
    event.listen(guarded.core.database.engine, "before_cursor_execute", refuse)
    try:
        refused = guarded.anyone.get("/v1/datasets", headers=bearer(person))
        assert "does not answer" in problem(refused, 503)["detail"]
        assert int(refused.headers["retry-after"]) > 0
        assert guarded.anyone.get("/v1/datasets", headers=bearer(USER)).status_code == 200  # the environment's works
        claim = guarded.anyone.post("/v1/worker/claim", json={"worker": "w"}, headers=bearer(guarded.tokens.fleet))
        assert claim.status_code == 200
        assert guarded.anyone.post("/login", data={"token": person}).status_code == 503
    finally:
        event.remove(guarded.core.database.engine, "before_cursor_execute", refuse)
    assert guarded.anyone.get("/v1/datasets", headers=bearer(person)).status_code == 200


def test_totals_for_a_monitor_have_no_names(guarded: Running) -> None:
    secret = made(guarded, "monitor", project="other")["secret"]
    guarded.create("secret-name", parallel=1)
    told = ask(guarded, "GET", "/metrics", secret)
    assert told.status_code == 200
    assert "luthier_studies" in told.text
    assert "secret" not in told.text
