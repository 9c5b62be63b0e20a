"""Who may call, and from where."""

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from itsdangerous import Signer
from pydantic import SecretStr, ValidationError

from luthier.service.api.auth import COOKIE, OPEN
from luthier.service.api.credentials import CookieSigner
from luthier.service.errors import RefusedToStart
from luthier.service.server.app import Tokens
from luthier.service.server.serve import listen
from luthier.service.settings import Settings
from tests.support.event_streams import beginning
from tests.support.harness import Running, problem, running, spec

USER, WORKER = "user-token-0123456789", "worker-token-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, WORKER)) as house:
        yield house


def every_route(house: Running) -> list[tuple[str, str]]:
    """(method, path) of every route there is, documented or not, with made-up values in the path."""
    found = []
    for route in iter_route_contexts(house.app.routes):
        assert route.path is not None
        path = re.sub(r"\{[^}]*\}", "1", route.path.replace("{action:verb}", "pause"))
        found += [(method, path) for method in route.methods or {"GET", "POST", "DELETE"}]
    return found


def ask(house: Running, method: str, path: str, **headers: str) -> httpx.Response:
    house.anyone.cookies.clear()
    return house.anyone.request(method, path, headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}".strip()}


def test_every_route_but_health_and_login_asks_for_the_token(guarded: Running) -> None:
    routes = every_route(guarded)
    assert len(routes) > 50
    assert ("POST", "/v1/worker/claim") in routes
    assert ("GET", "/dashboard") in routes
    for method, path in routes:
        answer = ask(guarded, method, path)
        if path in OPEN:
            assert answer.status_code != 401, (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert method == "HEAD" or problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert OPEN == ("/healthz", "/readyz", "/login", "/favicon.ico", "/favicon.svg", "/site.css")


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1/worker/nowhere", "//v1/studies", "/v1/studies/", "/healthz/", "/HEALTHZ"]
)
def test_what_is_no_route_asks_too(guarded: Running, path: str) -> None:
    problem(ask(guarded, "GET", path), 401)


def test_the_right_token_opens(guarded: Running) -> None:
    assert ask(guarded, "GET", "/v1/studies", **bearer(USER)).status_code == 200
    assert ask(guarded, "GET", "/v1/studies", Authorization=f"bearer {USER}").status_code == 200
    for wrong in (bearer(""), bearer(USER + "x"), bearer(USER[:-1]), {"Authorization": USER}, bearer("Ünïcode")):
        answer = guarded.client.build_request("GET", "/v1/studies")
        answer.headers = httpx.Headers({"Host": answer.headers["host"], **wrong}, encoding="utf-8")
        problem(guarded.client.send(answer), 401)


def test_a_wrong_token_is_told_from_none(guarded: Running) -> None:
    cases = (({}, "asks for a token"), (bearer("stale-token-0123456789"), "not this service's token"))
    cases += (({"Authorization": USER}, "holds no token"), ({"Cookie": f"{COOKIE}=old"}, "The login has ended"))
    for headers, words in cases:
        assert words in problem(ask(guarded, "GET", "/v1/studies", **headers), 401)["detail"]
    assert (
        "not this service's worker token"
        in problem(ask(guarded, "POST", "/v1/worker/claim", **bearer("x")), 401)["detail"]
    )


def test_the_icon_of_the_login_needs_no_token(guarded: Running) -> None:
    for path in ("/favicon.ico", "/favicon.svg"):
        answer = ask(guarded, "GET", path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.text.startswith("<svg")


def test_each_token_opens_its_own_routes_only(guarded: Running) -> None:
    claim = {"worker": "w1"}
    for token, status in ((WORKER, 204), (guarded.tokens.fleet, 204), (USER, 403), ("", 401)):
        answer = guarded.anyone.post("/v1/worker/claim", json=claim, headers=bearer(token))
        assert answer.status_code == status
    for method, path in every_route(guarded):
        if path.startswith("/v1/worker/"):
            assert ask(guarded, method, path, **bearer(USER)).status_code == 403, path
        elif path not in (*OPEN, "/logout"):
            for token in (WORKER, guarded.tokens.fleet):
                assert ask(guarded, method, path, **bearer(token)).status_code == 403, path


def login(house: Running, token: str = USER, **form: str) -> httpx.Response:
    house.anyone.cookies.clear()
    return house.anyone.post("/login", data={"token": token, **form})


def test_a_browser_logs_in(guarded: Running) -> None:
    asked = ask(guarded, "GET", "/dashboard", Accept="text/html")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/login?next=/dashboard"
    page = ask(guarded, "GET", "/login?next=/dashboard", Accept="text/html")
    assert page.status_code == 200
    assert "<form" in page.text
    answer = login(guarded, next="/docs")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/docs"
    flags = answer.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert USER not in flags
    cookie = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
    guarded.anyone.cookies.clear()
    assert guarded.anyone.get("/v1/studies", headers=cookie).status_code == 200
    assert guarded.anyone.post("/v1/worker/claim", json={"worker": "w"}, headers=cookie).status_code == 401


def test_a_wrong_token_gets_no_cookie(guarded: Running) -> None:
    for token in ("wrong", WORKER, guarded.tokens.fleet):
        answer = login(guarded, token)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert token not in answer.text


def test_a_cookie_cannot_be_forged(guarded: Running) -> None:
    cookie = login(guarded).cookies[COOKIE]
    guarded.anyone.cookies.clear()
    expires, signature = cookie.split(".")
    flipped = base64.urlsafe_b64encode(bytes([base64.urlsafe_b64decode(signature + "=")[0] ^ 1])).decode()[:2]
    others = [CookieSigner(token).sign() for token in (USER + "x", WORKER, guarded.tokens.fleet)]
    for forged in (
        *others,
        Signer("", salt="luthier cookie", key_derivation="hmac", digest_method=hashlib.sha256).sign(expires).decode(),
        Signer(USER).sign(expires).decode(),
        Signer(USER, salt="luthier cookie", digest_method=hashlib.sha256).sign(expires).decode(),
        f"{int(expires) + 1}.{signature}",
        f"{expires}.{flipped}{signature[2:]}",
        f"{expires}.{signature[:-1]}",
        f"{expires}.{signature}.",
        f"{expires}.",
        f"{expires}",
        f".{signature}",
        signature,
        "x",
        ".",
        "",
    ):
        assert guarded.anyone.get("/v1/studies", headers={"Cookie": f"{COOKIE}={forged}"}).status_code == 401, forged
    assert guarded.anyone.get("/v1/studies", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 200


def test_a_cookie_runs_out_after_twelve_hours(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.time()
    moved = {"by": 0.0}
    monkeypatch.setattr("luthier.service.api.credentials.time.time", lambda: begun + moved["by"])
    cookie = {"Cookie": f"{COOKIE}={login(guarded).cookies[COOKIE]}"}
    guarded.anyone.cookies.clear()
    for seconds, status in ((12 * 3600 - 2, 200), (12 * 3600, 401), (30 * 24 * 3600, 401)):
        moved["by"] = seconds
        assert guarded.anyone.get("/v1/studies", headers=cookie).status_code == status, seconds
    moved["by"] = -5.0  # another service of this database, whose clock is behind
    assert guarded.anyone.get("/v1/studies", headers=cookie).status_code == 200


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", '/"><script>', "/a:b"],
)
def test_login_leads_to_our_own_pages_only(guarded: Running, target: str) -> None:
    assert login(guarded, next=target).headers["location"] == "/"
    page = guarded.anyone.get("/login", params={"next": target})
    assert "evil" not in page.text
    assert "<script" not in page.text
    assert "javascript" not in page.text


def test_a_login_ends_where_it_is_said(guarded: Running) -> None:
    cookie = {"Cookie": login(guarded).headers["set-cookie"].partition(";")[0]}
    assert "Log out" in ask(guarded, "GET", "/", **cookie).text
    assert ask(guarded, "POST", "/logout", **cookie, Origin="https://evil.example").status_code == 403
    ended = ask(guarded, "POST", "/logout", **cookie)
    assert (ended.status_code, ended.headers["location"]) == (303, "/login")
    assert 'luthier=""' in ended.headers["set-cookie"]
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert "Log out" not in ask(guarded, "GET", "/", **bearer(USER)).text


def test_without_a_token_it_answers_to_this_machine_only(house_sqlite: Running) -> None:
    port = house_sqlite.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", f"[::1]:{port}", "127.0.0.2"):
        assert ask(house_sqlite, "GET", "/v1/studies", Host=host).status_code == 200, host
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
        problem(ask(house_sqlite, "GET", "/v1/studies", Host=host), 403)
        problem(ask(house_sqlite, "POST", "/v1/worker/claim", Host=host), 403)


def test_pages_of_other_sites_change_nothing(house_sqlite: Running) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
        answer = house_sqlite.anyone.post("/v1/studies", json=spec("crossed"), headers={"Origin": origin})
        problem(answer, 403)
    assert house_sqlite.client.get("/v1/studies/crossed").status_code == 404
    own = house_sqlite.anyone.post("/v1/studies", json=spec("own"), headers={"Origin": house_sqlite.url})
    assert own.status_code == 201


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_loopback_it_refuses_to_start_without_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(RefusedToStart, match="LUTHIER_TOKEN"):
        listen(Settings(home=tmp_path, host=host, port=0))
    with pytest.raises(RefusedToStart, match="LUTHIER_TOKEN"):
        listen(Settings(home=tmp_path, host=host, port=0, worker_token=SecretStr(WORKER)))


def test_with_a_token_it_listens_anywhere(tmp_path: Path) -> None:
    listen(Settings(home=tmp_path, host="0.0.0.0", port=0, token=SecretStr(USER))).close()
    listen(Settings(home=tmp_path, host="127.0.0.1", port=0)).close()


def test_a_short_token_is_refused_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="at least 16") as refused:
        Settings(home=tmp_path, token=SecretStr("hunter2"))
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("LUTHIER_TOKEN", "hunter2")
    monkeypatch.setenv("LUTHIER_WORKER_TOKEN", "hunter3")
    with pytest.raises(ValidationError, match="at least 16") as refused:
        Settings(home=tmp_path)
    assert "hunter" not in str(refused.value)
    monkeypatch.delenv("LUTHIER_TOKEN")
    monkeypatch.delenv("LUTHIER_WORKER_TOKEN")
    monkeypatch.setenv("LUTHIER_DATABASE_URL", "postgresql://luthier:hunter4@db.example/luthier")
    assert "hunter" not in repr(Settings(home=tmp_path))


def test_secrets_are_stored_and_told_nowhere(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    guarded.finished("quiet", budget={"trials": 1})
    texts = [beginning(guarded.client, *route).text for route in every_route(guarded) if route[0] != "HEAD"]
    texts += [repr(guarded.settings), repr(guarded.app.state.service), caplog.text]
    stored = b"".join(path.read_bytes() for path in guarded.settings.home.rglob("*") if path.is_file())
    assert b"quiet" in stored
    for secret in (USER, WORKER, guarded.tokens.fleet):
        assert secret.encode() not in stored
        assert not any(secret in text for text in texts)
