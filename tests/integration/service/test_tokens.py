"""Tokens of people over REST: made with a secret that is shown once, listed, changed, revoked, expired."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.access.known_tokens import KnownTokens
from luthier.service.access.secrets import digest_of
from luthier.service.access.tokens import RESERVED
from luthier.service.api import callers, event_stream
from luthier.service.caller import SERVICE
from luthier.service.server.app import Tokens
from tests.support.harness import Running, paths, problem, running, spec
from tests.support.projects import make_projects
from tests.support.tokens import USER, ask, bearer, made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None)) as house:
        make_projects(house, "vision")
        yield house


def listed(house: Running, name: str) -> dict[str, Any]:
    (item,) = [item for item in house.get("/v1/tokens?limit=500")["items"] if item["name"] == name]
    return dict(item)


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def test_a_token_is_of_a_project_that_is_there(guarded: Running) -> None:
    answer = guarded.client.post("/v1/tokens", json={"name": "early", "scopes": ["read"], "project": "speech"})
    assert "`luthier project set speech`" in problem(answer, 404)["detail"]


def test_a_secret_is_shown_once_and_stored_nowhere(guarded: Running) -> None:
    answer = guarded.client.post(
        "/v1/tokens", json={"name": "anna@example.org", "scopes": ["write"], "project": "vision", "max_parallel": 3}
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()
    secret = token.pop("secret")
    assert len(secret) > 40
    assert answer.headers["location"] == f"/v1/tokens/{token['id']}"
    assert (token["created_by"], token["state"], token["expires_at"]) == ("environment", "live", None)
    assert (token["max_parallel"], token["max_gpu_seconds"]) == (3, None)
    assert listed(guarded, "anna@example.org") == token
    assert ask(guarded, "POST", "/v1/studies", secret, json=spec("annas")).status_code == 201
    assert listed(guarded, "anna@example.org")["last_used_at"] is not None
    stored = b"".join(path.read_bytes() for path in guarded.settings.home.rglob("*") if path.is_file())
    assert b"annas" in stored
    assert secret.removeprefix("luthier_").encode() not in stored


def test_a_name_is_given_once_among_live_tokens(guarded: Running) -> None:
    first = made(guarded, "twice")
    again = guarded.client.post("/v1/tokens", json={"name": "twice", "scopes": ["read"]})
    assert "its secret cannot be shown again" in problem(again, 409)["detail"]
    assert guarded.client.delete(f"/v1/tokens/{first['id']}").status_code == 204
    assert made(guarded, "twice")["id"] != first["id"]
    assert callers_without_a_token() == RESERVED


def callers_without_a_token() -> set[str]:
    kinds = (callers.ENVIRONMENT, callers.LOCAL, callers.FLEET, callers.WORKER, callers.NOBODY, SERVICE)
    return {caller.name for caller in kinds}


def test_what_cannot_be_a_token_is_refused_by_its_field(guarded: Running) -> None:
    good = {"name": "good", "scopes": ["read"]}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"name": "Anna"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": "environment"}, "name"),
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": "read"}, "scopes"),
        ({"project": "No Name"}, "project"),
        ({"expires_at": in_hours(-1)}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"max_parallel": 0}, "max_parallel"),
        ({"max_gpu_seconds": -1}, "max_gpu_seconds"),
        ({"max_gpu_seconds": 1e300}, "max_gpu_seconds"),
        ({"secret": "mine"}, "secret"),
    )
    for changes, path in cases:
        assert paths(guarded.client.post("/v1/tokens", json=good | changes)) == {path}, changes
    assert paths(guarded.client.post("/v1/tokens", json={"name": "good"})) == {"scopes"}
    for end in ("2999-01-01T00:00:00", "tomorrow", "", [1], 1e18):
        told = problem(guarded.client.post("/v1/tokens", json=good | {"expires_at": end}), 422)
        assert told["detail"] == "expires_at: must be a time with its zone, as 2027-01-31T12:00:00Z", end


def test_a_revoked_token_opens_nothing_at_once(guarded: Running) -> None:
    token = made(guarded, "gone")
    assert ask(guarded, "GET", "/v1/studies", token["secret"]).status_code == 200
    for _ in range(2):  # once more changes nothing
        assert guarded.client.delete(f"/v1/tokens/{token['id']}").status_code == 204
        refused = problem(ask(guarded, "GET", "/v1/studies", token["secret"]), 401)
        assert "The token gone was revoked at" in refused["detail"]
    assert listed(guarded, "gone")["state"] == "revoked"
    names = [item["name"] for item in guarded.get("/v1/tokens?state=live&limit=500")["items"]]
    assert "gone" not in names
    problem(guarded.client.patch(f"/v1/tokens/{token['id']}", json={"max_parallel": 1}), 409)
    problem(guarded.client.delete("/v1/tokens/999999"), 404)


def test_a_token_ends_when_it_was_said_and_makes_none_that_lives_longer(guarded: Running) -> None:
    brief = made(guarded, "brief", scopes=["admin"], expires_at=in_hours(2))
    body = {"name": "child", "scopes": ["admin"]}
    for end in ({}, {"expires_at": in_hours(3)}):
        assert paths(ask(guarded, "POST", "/v1/tokens", brief["secret"], json=body | end)) == {"expires_at"}
    child = ask(guarded, "POST", "/v1/tokens", brief["secret"], json=body | {"expires_at": in_hours(1)})
    assert child.status_code == 201
    assert child.json()["created_by"] == "brief"
    own = f"/v1/tokens/{brief['id']}"
    assert paths(ask(guarded, "PATCH", own, brief["secret"], json={"expires_at": None})) == {"expires_at"}
    guarded.move_clock(2 * 3600)
    guarded.app.state.service.tokens.forget()
    assert "The token brief has expired" in problem(ask(guarded, "GET", "/v1/studies", brief["secret"]), 401)["detail"]
    assert listed(guarded, "brief")["state"] == "expired"
    assert {"brief", "child"} <= {item["name"] for item in guarded.get("/v1/tokens?state=expired")["items"]}
    guarded.move_clock(-2 * 3600)
    guarded.app.state.service.tokens.forget()


def test_limits_and_the_end_can_be_changed(guarded: Running) -> None:
    token = made(guarded, "changing", max_parallel=2, max_gpu_seconds=100.5)
    where = f"/v1/tokens/{token['id']}"
    changed = guarded.client.patch(where, json={"max_parallel": None, "expires_at": "2999-01-01T00:00:00+02:00"})
    assert changed.status_code == 200, changed.text
    view = changed.json()
    assert (view["max_parallel"], view["max_gpu_seconds"]) == (None, 100.5)
    assert view["expires_at"] == "2998-12-31T22:00:00Z"
    assert listed(guarded, "changing") == view
    assert paths(guarded.client.patch(where, json={"name": "other"})) == {"name"}
    assert guarded.client.patch(where, json={}).json() == view


def test_tokens_are_listed_in_pages(guarded: Running) -> None:
    for number in range(3):
        made(guarded, f"page-{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = guarded.get(f"/v1/tokens?limit=2{cursor}")
        seen += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen[:3] == ["page-2", "page-1", "page-0"]
    assert len(seen) == len(guarded.get("/v1/tokens?limit=500")["items"])


def test_two_services_of_one_database_agree(tmp_path: Path) -> None:
    with running(tmp_path, None, Tokens(USER, None)) as one:
        token = made(one, "shared")
        other = KnownTokens(one.core.database, seconds=0.0)  # as a second service knows them
        known = other.by_digest(digest_of(token["secret"]))
        assert known is not None
        assert known.is_live
        one.client.delete(f"/v1/tokens/{token['id']}")
        known = other.by_digest(digest_of(token["secret"]))
        assert known is not None
        assert not known.is_live


def test_a_service_without_a_token_asks_for_one_once_an_admin_has_one(tmp_path: Path) -> None:
    with running(tmp_path, None, Tokens(None, None)) as house:
        reader = made(house, "reader")
        assert house.get("/v1/studies")["items"] == []
        problem(ask(house, "POST", "/v1/studies", reader["secret"], json=spec()), 403)  # it opens what it says
        worker = house.worker()
        assert worker.claim() is None
        admin = made(house, "root", scopes=["admin"])
        problem(house.client.get("/v1/studies"), 401)
        problem(house.client.post("/v1/worker/claim", json={"worker": "w1"}), 401)
        assert ask(house, "GET", "/v1/tokens", admin["secret"]).status_code == 200
        fleet = house.tokens.fleet
        assert ask(house, "POST", "/v1/worker/claim", fleet, json={"worker": "w1"}).status_code == 204
        ask(house, "DELETE", f"/v1/tokens/{admin['id']}", admin["secret"])
        assert house.get("/v1/studies")["items"] == []  # nobody is locked out
        problem(ask(house, "GET", "/v1/studies", admin["secret"]), 401)


def test_a_login_ends_with_its_token(guarded: Running) -> None:
    token = made(guarded, "browser", scopes=["write"])

    def logged_in() -> httpx.Response:
        guarded.anyone.cookies.clear()
        return guarded.anyone.post("/login", data={"token": token["secret"]})

    answer = logged_in()
    assert answer.status_code == 303
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert token["secret"] not in cookie["Cookie"]
    guarded.anyone.cookies.clear()
    assert guarded.anyone.get("/v1/studies", headers=cookie).status_code == 200
    assert guarded.anyone.get("/v1/tokens", headers=cookie).status_code == 403
    value = cookie["Cookie"].partition("=")[2]
    payload, _, signature = value.partition(".")
    ends, _, token_id = payload.partition("-")
    other = made(guarded, "another")["id"]
    for forged in (f"{int(ends) + 1}-{token_id}.{signature}", f"{ends}-{other}.{signature}", f"{ends}.{signature}"):
        refused = guarded.anyone.get("/v1/studies", headers={"Cookie": f"luthier={forged}"})
        problem(refused, 401)
    guarded.client.delete(f"/v1/tokens/{token['id']}")
    guarded.anyone.cookies.clear()
    assert "This login has ended with it" in problem(guarded.anyone.get("/v1/studies", headers=cookie), 401)["detail"]
    assert logged_in().status_code == 401
    worker = made(guarded, "machine", scopes=["worker"])
    assert guarded.anyone.post("/login", data={"token": worker["secret"]}).status_code == 401


def test_bearers_are_compared_as_they_are(guarded: Running) -> None:
    secret = made(guarded, "exact")["secret"]
    for wrong in (secret + "x", secret[:-1], secret.upper(), "luthier_", "luthier_" + "a" * 500):
        assert guarded.anyone.get("/v1/studies", headers=bearer(wrong)).status_code == 401


def test_an_admin_makes_and_revokes_tokens_on_a_page(guarded: Running) -> None:
    form = {"name": "by-page", "scope-read": "1", "project": "vision", "days": "2", "max_parallel": "", "extra": "x"}
    page = guarded.client.post("/tokens", data=form)
    assert page.status_code == 200, page.text
    assert page.headers["cache-control"] == "no-store"
    secret = page.text.partition('<code id="secret">')[2].partition("<")[0]
    assert ask(guarded, "GET", "/v1/studies", secret).status_code == 200
    shown = guarded.client.get("/tokens").text
    assert "by-page" in shown
    assert secret not in shown
    token = listed(guarded, "by-page")
    assert (token["scopes"], token["project"], token["max_parallel"]) == (["read"], "vision", None)
    assert token["expires_at"] is not None
    again = guarded.client.post("/tokens", data=form | {"days": "soon", "name": "Bad"})
    assert again.status_code == 422
    assert 'value="Bad" aria-invalid="true"' in again.text
    assert guarded.client.post("/tokens", data=form).status_code == 409
    revoked = guarded.client.post(f"/tokens/{token['id']}/revoke")
    assert (revoked.status_code, revoked.headers["location"]) == (303, "/tokens")
    assert ask(guarded, "GET", "/v1/studies", secret).status_code == 401
    entries = guarded.client.get("/audit?caller=environment").text
    assert "POST /tokens/{id}/revoke" in entries


def test_a_page_that_is_refused_says_why(guarded: Running) -> None:
    secret = made(guarded, "looker")["secret"]
    html = bearer(secret) | {"Accept": "text/html"}
    refused = guarded.anyone.get("/tokens", headers=html)
    assert refused.status_code == 403
    assert "needs the scope admin" in refused.text
    home = guarded.anyone.get("/", headers=html).text
    assert "/projects" not in home
    assert "/tokens" not in home
    assert 'href="/new"' not in home
    assert 'href="/tokens"' in guarded.client.get("/", headers={"Accept": "text/html"}).text


def test_a_stream_of_events_ends_with_its_token(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "ALLOWED_SECONDS", 0.05)
    token = made(guarded, "listener")
    with guarded.anyone.stream("GET", "/v1/events", headers=bearer(token["secret"])) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert guarded.client.delete(f"/v1/tokens/{token['id']}").status_code == 204
        assert "event" not in "".join(lines)  # it ends, or the client's time is over
