"""Wrong tokens at the login are limited, for each address and in all, and nobody is shut out for long."""

import time
from collections.abc import Iterator

import httpx
import pytest

from luthier.service.api.login import ALL_TRIES, TRIES, Tries
from luthier.service.server.app import Tokens
from tests.support.harness import Running, running

USER = "user-token-0123456789"


class Clock:
    """The clock of the login, which stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("luthier.service.api.login.time", clock)
    return clock


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None)) as house:
        yield house


def login(house: Running, token: str, address: str = "192.0.2.1") -> httpx.Response:
    """Try a token; a proxy on this machine tells the service the client's address."""
    house.anyone.cookies.clear()
    headers = {"X-Forwarded-For": address}
    return house.anyone.post("/login", data={"token": token, "next": "/docs"}, headers=headers)


def test_after_five_wrong_tokens_an_address_waits_a_minute(guarded: Running, clock: Clock) -> None:
    cookie = {"Cookie": f"luthier={login(guarded, USER).cookies['luthier']}"}
    for _ in range(TRIES):
        assert login(guarded, "a wrong one").status_code == 401
        clock.now += 2
    for token in ("a wrong one", USER):
        refused = login(guarded, token)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "50"
        assert "set-cookie" not in refused.headers
        assert "try again in 50 seconds" in refused.text
    assert login(guarded, USER, "192.0.2.2").status_code == 303
    guarded.anyone.cookies.clear()
    for headers in (cookie, {"Authorization": f"Bearer {USER}"}):
        assert guarded.anyone.get("/v1/studies", headers=headers).status_code == 200
    clock.now += 50
    assert login(guarded, USER).status_code == 303
    assert login(guarded, "a wrong one").status_code == 401
    assert login(guarded, "a wrong one").status_code == 429  # four of the last minute are left, and this one's before


def test_right_tokens_are_not_counted(guarded: Running) -> None:
    assert {login(guarded, USER).status_code for _ in range(3 * TRIES)} == {303}


@pytest.mark.full
def test_all_addresses_together_have_a_limit(guarded: Running, clock: Clock) -> None:
    for i in range(ALL_TRIES):
        assert login(guarded, "a wrong one", f"192.0.2.{i}").status_code == 401
    assert login(guarded, USER, "198.51.100.1").status_code == 429
    clock.now += 60
    assert login(guarded, USER, "198.51.100.1").status_code == 303


def test_addresses_of_one_network_count_as_one(clock: Clock) -> None:
    tries = Tries()
    for i in range(TRIES):
        tries.add_wrong(f"2001:db8:1:2::{i:x}")
    assert tries.wait_seconds("2001:db8:1:2:ffff::1") == 60
    assert tries.wait_seconds("2001:db8:1:3::1") == 0
    assert tries.wait_seconds("") == 0
    assert (TRIES, ALL_TRIES) == (5, 50)
