"""The login by a reverse proxy's header: whose header counts, and who its people are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from luthier.service.server.app import Tokens
from luthier.service.settings import Settings
from tests.support.harness import Running, problem, running, spec
from tests.support.tokens import USER, bearer, made

PROXY = "127.0.0.1"  # the address of this test's usual client
HEADER = "X-Forwarded-User"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings: dict[str, Any] = {
        "token": SecretStr(USER),
        "proxy_user_header": HEADER,
        "proxy_trusted": f"192.0.2.0/24, {PROXY}",
        "proxy_admins": "Root@Example.org",
        "proxy_project": "guests",
    }
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None), **settings) as house:
        yield house


def as_person(
    house: Running, name: str, method: str = "GET", path: str = "/v1/studies", **options: Any
) -> httpx.Response:
    house.anyone.cookies.clear()
    return house.anyone.request(method, path, headers={HEADER: name} | options.pop("headers", {}), **options)


def test_people_are_admins_or_have_a_token_of_their_name_or_may_read(proxied: Running) -> None:
    made(proxied, "anna@example.org", scopes=["write"], project="vision")
    assert as_person(proxied, "root@example.org", path="/v1/tokens").status_code == 200
    assert as_person(proxied, "Anna@example.org", "POST", json=spec("s1")).status_code == 201
    assert as_person(proxied, "guest").status_code == 200
    problem(as_person(proxied, "guest", "POST", json=spec("s2")), 403)
    problem(as_person(proxied, "guest", path="/v1/studies?project=vision"), 403)
    entries = [(e["caller"], e["project"], e["status"]) for e in proxied.get("/v1/audit?limit=3")["items"]]
    assert entries == [("guest", "guests", 403), ("guest", "guests", 403), ("anna@example.org", "vision", 201)]


def test_a_person_whose_token_was_revoked_does_not_come_back_by_the_proxy(proxied: Running) -> None:
    token = made(proxied, "leaver@example.org", scopes=["write"])
    assert as_person(proxied, "leaver@example.org").status_code == 200
    assert proxied.client.delete(f"/v1/tokens/{token['id']}").status_code == 204
    assert "revoked" in problem(as_person(proxied, "leaver@example.org"), 403)["detail"]
    made(proxied, "leaver@example.org", scopes=["read"])
    assert as_person(proxied, "leaver@example.org").status_code == 200


def test_the_header_of_anybody_else_is_passed_over(proxied: Running) -> None:
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=proxied.url, transport=elsewhere) as other:
        for more in ({}, {"X-Forwarded-For": PROXY}, {"Forwarded": f"for={PROXY}"}, {"X-Real-IP": PROXY}):
            problem(other.get("/v1/studies", headers={HEADER: "root@example.org"} | more), 401)
    # the address of the socket's peer counts, not the one that the proxy tells of its client
    through = {"X-Forwarded-For": "198.51.100.7"}
    assert as_person(proxied, "root@example.org", path="/v1/tokens", headers=through).status_code == 200


@pytest.mark.parametrize("name", ["environment", "local", "", "a b", "no/slash", "a" * 64, "%00"])
def test_names_that_no_token_can_have_are_refused(proxied: Running, name: str) -> None:
    assert "whose name cannot be a token's" in problem(as_person(proxied, name), 403)["detail"]


def test_a_header_that_came_twice_is_refused(proxied: Running) -> None:
    twice = proxied.anyone.get("/v1/studies", headers=[(HEADER, "guest"), (HEADER, "root@example.org")])
    assert "came twice" in problem(twice, 403)["detail"]


def test_programs_behind_the_proxy_present_their_own_tokens(proxied: Running) -> None:
    assert as_person(proxied, "guest", path="/v1/tokens", headers=bearer(USER)).status_code == 200
    problem(as_person(proxied, "root@example.org", path="/v1/tokens", headers=bearer("wrong")), 401)
    problem(as_person(proxied, "root@example.org", "POST", "/v1/worker/claim", json={"worker": "w"}), 401)
    crossed = as_person(proxied, "root@example.org", "POST", json=spec("x"), headers={"Origin": "https://evil.example"})
    problem(crossed, 403)


def test_it_is_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    with running(tmp_path, None, Tokens(USER, None)) as house:
        problem(as_person(house, "root@example.org"), 401)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token": SecretStr(USER)}, "LUTHIER_PROXY_TRUSTED"),
        ({"proxy_trusted": "10.0.0.0/8"}, "LUTHIER_TOKEN"),
        ({"token": SecretStr(USER), "proxy_trusted": "10.0.0.300"}, "10.0.0.300 is no address"),
        ({"token": SecretStr(USER), "proxy_trusted": "10.0.0.1/8"}, "10.0.0.1/8 is no address or network"),
    ],
)
def test_unsafe_settings_are_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(home=tmp_path, proxy_user_header=HEADER, **settings)
