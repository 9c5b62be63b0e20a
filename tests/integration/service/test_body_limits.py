"""No route takes a body larger than its own, announced or in chunks, and none is read before the token is asked."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from luthier.service.api.body_limit import LOGIN_BYTES, REPORT_BYTES
from luthier.service.server.app import Tokens
from luthier.studies.documents import MAX_BYTES
from tests.support.harness import Running, problem, running, spec
from tests.support.raw_http import answer, dialled, head

USER, WORKER = "user-token-0123456789", "worker-token-0123456789"
GIGABYTE = str(2**30)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, WORKER), predict_bytes=2**20) as house:
        yield house


def routes(house: Running) -> list[tuple[str, str, int]]:
    """(method, path, most bytes) of every documented route that changes something, and of the login."""
    found = [("POST", "/login", LOGIN_BYTES)]
    for template, item in house.get("/openapi.json")["paths"].items():
        path = re.sub(r"\{[^}]*\}", "1", template)
        if path != "/v1/datasets" and not path.startswith("/v1/worker/files/"):  # they have limits of their own
            messages = path.startswith("/v1/worker/") or path.endswith(("/report", "/tell"))  # with logs
            limit = REPORT_BYTES if messages else MAX_BYTES
            limit = house.settings.predict_bytes if path.endswith("/predict") else limit
            found += [(method.upper(), path, limit) for method in item if method != "get"]
    return found


def token_for(path: str) -> dict[str, str]:
    if path == "/login":
        return {}
    return {"Authorization": f"Bearer {WORKER if path.startswith('/v1/worker/') else USER}"}


def test_a_body_that_is_announced_as_too_large_is_answered_unread(guarded: Running) -> None:
    assert len(routes(guarded)) > 12
    for method, path, limit in routes(guarded):
        for length in (str(limit + 1), GIGABYTE, "9" * 15):
            with dialled(guarded) as line:
                line.sendall(head(method, path, Content_Length=length, **token_for(path)))
                status, got = answer(line)
                assert status == 413, (method, path, length)
                assert b"application/problem+json" in got


def test_without_a_token_nothing_of_a_body_is_waited_for(guarded: Running) -> None:
    for method, path, _ in routes(guarded):
        if path != "/login":
            for size in ({"Content_Length": GIGABYTE}, {"Content_Length": "10"}, {"Transfer_Encoding": "chunked"}):
                with dialled(guarded) as line:
                    line.sendall(head(method, path, **size))
                    assert answer(line)[0] == 401, (method, path)


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/v1/studies", MAX_BYTES),
        ("POST", "/v1/studies:plan", MAX_BYTES),
        ("POST", "/v1/schedules", MAX_BYTES),
        ("PATCH", "/v1/schedules/nightly", MAX_BYTES),
        ("POST", "/v1/studies/s1/trials", MAX_BYTES),
        ("POST", "/v1/worker/claim", REPORT_BYTES),
        ("POST", "/v1/worker/report", REPORT_BYTES),
        ("POST", "/login", LOGIN_BYTES),
    ],
)
def test_a_body_in_chunks_is_cut_off_at_the_limit(guarded: Running, method: str, path: str, limit: int) -> None:
    kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
    headers = {"Content-Type": kind, **token_for(path)}

    def chunks(count: int) -> Iterator[bytes]:
        yield from (b" " * 1024 for _ in range(count // 1024))

    response = guarded.anyone.request(method, path, content=chunks(limit + 1024), headers=headers)
    assert str(limit) in problem(response, 413)["detail"]
    problem(guarded.anyone.request(method, path, content=chunks(limit), headers=headers), 422)


def test_a_login_writes_nothing_to_the_disk(guarded: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened: list[str] = []
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", lambda self: opened.append("spooled"))
    file = b"x" * (LOGIN_BYTES - 1000)
    problem(guarded.anyone.post("/login", files={"token": ("a", file), "next": ("b", b"/")}), 415)
    problem(guarded.anyone.post("/login", files={"token": ("a", os.urandom(2**22))}), 413)
    problem(guarded.anyone.post("/login", content=b"token=" + USER.encode()), 415)
    assert list(tmp_path.iterdir()) == []
    assert opened == []
    problem(guarded.anyone.post("/login", data={"next": "/docs"}), 422)
    problem(guarded.anyone.post("/login", data={f"field{i}": "1" for i in range(100)} | {"token": USER}), 422)


def test_a_client_that_hangs_up_in_the_middle_leaves_no_traceback(
    guarded: Running, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/v1/studies", "/v1/worker/claim", "/login"):
        with dialled(guarded) as line:
            form = {"Content_Type": "application/x-www-form-urlencoded"} if path == "/login" else {}
            line.sendall(head("POST", path, Content_Length="2000", **form, **token_for(path)) + b"{")
    assert guarded.client.get("/v1/studies").status_code == 200
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"params": {"learning_rate": ' + b"9" * 5000 + b"}}",
        b'{"params": {"optimizer": "\\ud83d"}}',
        b'{"params": {"\\ud83d": 1}}',
        b'{"params": {"learning_rate": NaN}}',
        b"\xff\xfe{\x00}\x00",
        b'{"worker": "\\ud83d"}',
        b'{"id": 1, "token": "x", "log": "\\ud83d", "status": "complete", "step": 1, "metrics": {"\\ud83d": 1}}',
        b'{"id": 1e400, "token": "x"}',
        b'{"cron": "\\ud83d", "notify": ["\\ud83d"], "\\ud83d": 1}',
    ],
    ids=lambda body: str(body[:30]),
)
def test_no_json_is_an_error_of_the_service(guarded: Running, body: bytes) -> None:
    guarded.client.post("/v1/studies", json=spec())
    for method, template, _ in routes(guarded):
        path = template.replace("/1/", "/s1/")
        if path not in ("/login", "/v1/studies/s1/1", "/v1/projects/1", "/v1/prune"):  # nothing is a wish of theirs
            headers = {"Content-Type": "application/json", **token_for(path)}
            response: httpx.Response = guarded.anyone.request(method, path, content=body, headers=headers)
            assert response.status_code in (404, 409, 422), (method, path, response.text)
            assert json.loads(response.content)["status"] == response.status_code
