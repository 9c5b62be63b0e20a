"""Every answer says what a browser may do with it, and HEAD is answered wherever GET is."""

import re
from collections.abc import Iterator

import httpx
import pytest

from luthier.service.api.plot_page import POLICY as PLOTS
from luthier.service.api.security_headers import CLOSED, OUR_PAGES
from luthier.service.server.app import Tokens
from tests.support.harness import Running, problem, running
from tests.support.nightly import Nightly

USER = "user-token-0123456789"
PATHS = {
    "/": OUR_PAGES,
    "/login": OUR_PAGES,
    "/studies/s1": OUR_PAGES,
    "/studies/s1/trials/0": OUR_PAGES,
    "/compare?study=s1": OUR_PAGES,
    "/workers": OUR_PAGES,
    "/new": OUR_PAGES,
    "/schedules": OUR_PAGES,
    "/schedules/nightly": OUR_PAGES,
    "/docs": "script-src 'self' 'sha256-",
    "/dashboard": "default-src 'self'",
    "/static/bundle.js": "default-src 'self'",
    "/api/studies": CLOSED,
    "/openapi.json": CLOSED,
    "/metrics": CLOSED,
    "/healthz": CLOSED,
    "/readyz": CLOSED,
    "/v1/tasks": CLOSED,
    "/v1/workers": CLOSED,
    "/v1/studies": CLOSED,
    "/v1/studies/s1": CLOSED,
    "/v1/studies/s1/model": CLOSED,
    "/v1/studies/s1/trials": CLOSED,
    "/v1/studies/s1/trials/0": CLOSED,
    "/v1/studies/s1/trials/0/logs": CLOSED,
    "/v1/studies/s1/plots/history": PLOTS,
    "/v1/studies/s1/plots/history?format=json": PLOTS,
    "/v1/schedules": CLOSED,
    "/v1/schedules/nightly": CLOSED,
    "/v1/schedules/nightly/runs": CLOSED,
    "/v1/schedules/nightly/runs/1": CLOSED,
    "/v1/schedules/nightly/champion": CLOSED,
    "/v1/schedules/nightly/plots/champion": PLOTS,
    "/nowhere": CLOSED,
    "/v1/studies/none": CLOSED,
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a token, a study that has ended with a model, and a schedule with a champion."""
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None)) as house:
        house.finished(budget={"trials": 2})
        Nightly(house, house.worker("w2")).run("a")
        yield house


def check(answer: httpx.Response, policy: str | None) -> None:
    """Check the headers that every answer has."""
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-frame-options"] == ("SAMEORIGIN" if policy is PLOTS else "DENY")
    assert (policy or "default-src 'none'") in headers["content-security-policy"]
    ancestors = "'self'" if policy is PLOTS else "'none'"
    assert f"frame-ancestors {ancestors}" in headers["content-security-policy"]
    assert not any(
        "unsafe-inline" in part for part in re.findall(r"script-src[^;]*", headers["content-security-policy"])
    )
    assert "cache-control" in headers


@pytest.mark.parametrize(("path", "policy"), PATHS.items())
def test_every_answer_has_them(shown: Running, path: str, policy: str | None) -> None:
    answer = shown.client.get(path)
    assert (answer.status_code < 400) == (path not in ("/nowhere", "/v1/studies/none")), answer.text[:300]
    check(answer, policy)
    kept = "private, no-cache" if path.startswith("/static/") else "no-store"
    assert answer.headers["cache-control"] == kept
    check(shown.anyone.get(path), policy)  # refused without the token, or open to all


def test_errors_have_them(shown: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    check(shown.client.put("/v1/studies"), CLOSED)
    check(shown.client.post("/v1/studies", content=b"{"), CLOSED)
    check(shown.client.post("/v1/studies", content=b" " * 2**20), CLOSED)
    check(shown.client.delete("/dashboard"), "default-src 'self'")
    monkeypatch.setattr("luthier.service.api.fleet_views.task_views", lambda _: 1 / 0)
    answer = httpx.get(f"{shown.url}/v1/tasks", headers=shown.client.headers)  # uvicorn closes such a connection
    problem(answer, 500)
    check(answer, CLOSED)


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get_without_the_body(shown: Running, path: str) -> None:
    got = shown.client.get(path)
    head = shown.client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    for name in ("content-type", "content-security-policy", "location", "etag", "x-content-sha256"):
        assert head.headers.get(name) == got.headers.get(name), name
    if "plots" not in path and path != "/metrics":  # they differ from one drawing to the next
        assert head.headers.get("content-length") == got.headers.get("content-length")
    assert shown.client.head(path, headers={"Range": "bytes=0-1"}).status_code == got.status_code
    assert shown.client.get("/healthz").json() == {"status": "ok"}  # on the same connection


def test_head_answers_no_other_method(shown: Running) -> None:
    assert shown.client.head("/v1/studies:plan").status_code == 405
    assert shown.anyone.head("/v1/studies").status_code == 401


def test_a_model_is_not_read_for_head(shown: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    length = int(shown.client.get("/v1/studies/s1/model").headers["content-length"])
    monkeypatch.setattr("starlette.responses.anyio.open_file", lambda *_, **__: pytest.fail("it was opened"))
    assert int(shown.client.head("/v1/studies/s1/model").headers["content-length"]) == length > 0
