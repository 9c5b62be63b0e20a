"""The log of actions: what gets there, what does not, how it is bounded, and that it fails no request."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from luthier.service.access import refusals, upkeep
from luthier.service.access.audit import MORE, AuditLog, Entry
from luthier.service.server.app import Tokens
from luthier.service.storage.access_tables import AuditRow, TokenRow
from tests.support.harness import Running, problem, running, spec
from tests.support.tokens import USER, ask, made

ENTRY = Entry("anna", 1, "vision", "DELETE /v1/studies/{name}", "s1", 204, "192.0.2.1")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None)) as house:
        yield house


def log(house: Running, query: str = "") -> list[dict[str, Any]]:
    return list(house.get(f"/v1/audit?limit=500{query}")["items"])


def test_what_changes_something_is_logged_with_who_and_what(guarded: Running) -> None:
    secret = made(guarded, "anna", scopes=["write"], project="vision")["secret"]
    assert ask(guarded, "POST", "/v1/studies", secret, json=spec("s1")).status_code == 201
    assert ask(guarded, "POST", "/v1/studies/s1/cancel", secret).status_code == 200
    assert ask(guarded, "GET", "/v1/studies/s1", secret).status_code == 200
    assert ask(guarded, "DELETE", "/v1/studies/s1", secret).status_code == 204
    problem(ask(guarded, "DELETE", "/v1/studies/s1", secret), 404)  # it changed nothing
    problem(ask(guarded, "GET", "/v1/tokens", secret), 403)
    entries = log(guarded, "&caller=anna")
    assert [(e["action"], e["subject"], e["status"]) for e in entries] == [
        ("GET /v1/tokens", None, 403),
        ("DELETE /v1/studies/{name}", "s1", 204),
        ("POST /v1/studies/{name}/{action:verb}", "s1/cancel", 200),
        ("POST /v1/studies", "s1", 201),
    ]
    assert {(e["project"], e["address"]) for e in entries} == {("vision", "127.0.0.1")}
    assert log(guarded, "&project=vision") == entries
    creation, _ = log(guarded, "&caller=environment")  # after the project
    assert (creation["action"], creation["token_id"]) == ("POST /v1/tokens", None)
    assert secret not in str(log(guarded))


def test_messages_of_workers_and_readers_are_not_logged(guarded: Running) -> None:
    before = log(guarded)
    guarded.finished("trained", budget={"trials": 2})
    actions = [entry["action"] for entry in log(guarded)[: -len(before)]]
    assert actions == ["POST /v1/studies"]


def test_a_log_in_is_logged_under_its_name(guarded: Running) -> None:
    secret = made(guarded, "browser")["secret"]
    guarded.anyone.post("/login", data={"token": secret})
    guarded.anyone.post("/login", data={"token": "luthier_wrong"})
    told = [(e["caller"], e["action"], e["status"]) for e in log(guarded)[:2]]
    assert told == [("anonymous", "POST /login", 401), ("browser", "POST /login", 303)]
    assert "luthier_wrong" not in str(log(guarded))


def test_refused_requests_of_an_address_are_counted_beyond_a_few(
    guarded: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = AuditLog(guarded.core.database)
    clock = {"now": time.monotonic()}
    monkeypatch.setattr(refusals.time, "monotonic", lambda: clock["now"])
    few = refusals.Refusals()
    monkeypatch.setattr(count, "_refused", few)
    refused = Entry("anonymous", None, "default", "GET /v1/studies", None, 401, "192.0.2.7")
    written = [count.add(refused) for _ in range(1000)]
    assert written == [True] * refusals.WRITTEN + [False] * (1000 - refusals.WRITTEN)
    assert count.add(ENTRY)  # what is done is written always
    clock["now"] += refusals.WINDOW_SECONDS
    count.write()
    of_address = [entry for entry in log(guarded) if entry["address"] == "192.0.2.7"]
    assert len(of_address) == refusals.WRITTEN + 1
    assert (of_address[0]["action"], of_address[0]["subject"]) == (MORE, "980 more within a minute")
    assert count.add(refused)


def test_an_entry_waits_for_the_database_and_its_request_does_not(tmp_path: Path) -> None:
    with running(tmp_path, None, Tokens(USER, None)) as house:
        away = {"is": True}

        def refuse(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if away["is"] and statement.startswith("INSERT INTO luthier_audit"):
                raise OperationalError(statement, {}, Exception("away"))

        event.listen(house.core.database.engine, "before_cursor_execute", refuse)
        house.create("s1")
        with house.core.database.reading() as session:
            assert session.scalar(select(func.count()).select_from(AuditRow)) == 0
        away["is"] = False
        assert [entry["subject"] for entry in log(house)] == ["s1"]


def test_old_entries_and_ended_tokens_go(guarded: Running) -> None:
    log_of_house = guarded.app.state.service.audit
    log_of_house.add(ENTRY)
    log_of_house.write()
    gone = made(guarded, "gone")["id"]
    guarded.client.delete(f"/v1/tokens/{gone}")
    lives = made(guarded, "lives")["id"]
    before = len(log(guarded))
    upkeep.prune(guarded.core.database, log_of_house, 90)
    assert len(log(guarded)) == before
    guarded.move_clock(91 * 86_400)
    upkeep.prune(guarded.core.database, log_of_house, 90)
    guarded.move_clock(-91 * 86_400)
    assert log(guarded) == []
    with guarded.core.database.reading() as session:
        assert session.get(TokenRow, gone) is None
        assert session.get(TokenRow, lives) is not None


def test_the_log_is_written_before_a_service_ends(tmp_path: Path) -> None:
    with running(tmp_path, None, Tokens(USER, None)) as house:
        house.app.state.service.audit.add(ENTRY)
    with running(tmp_path, None, Tokens(USER, None)) as house:
        assert [entry["caller"] for entry in log(house)] == ["anna"]
