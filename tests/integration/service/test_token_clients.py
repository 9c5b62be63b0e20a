"""Tokens and the log of actions by the command line and by both Python clients, over real HTTP."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from luthier.service.cli.command import app
from luthier.service.client import AsyncClient, Client, ServiceError
from luthier.service.server.app import Tokens
from tests.support.harness import Running, running, spec
from tests.support.projects import make_projects
from tests.support.tokens import USER, made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, None)) as house:
        make_projects(house, "vision")
        yield house


def luthier(house: Running, *words: str, token: str = USER) -> Result:
    return CliRunner().invoke(app, [*words], env={"LUTHIER_SERVER": house.url, "LUTHIER_TOKEN": token})


@pytest.mark.full
def test_a_secret_can_be_piped_and_used(guarded: Running) -> None:
    done = luthier(guarded, "token", "create", "ci", "-s", "write", "--project", "vision", "--expires", "30d")
    assert done.exit_code == 0, done.stderr
    secret = done.stdout.strip()
    assert secret.startswith("luthier_")
    assert "ci may write in the project vision until" in done.stderr
    assert luthier(guarded, "list", token=secret).exit_code == 0
    refused = luthier(guarded, "token", "list", token=secret)
    assert isinstance(refused.exception, ServiceError)
    assert "needs the scope admin" in str(refused.exception)
    (view,) = json.loads(luthier(guarded, "token", "list", "-o", "json").stdout)
    assert (view["name"], view["scopes"], view["project"], view["state"]) == ("ci", ["write"], "vision", "live")
    assert "ci" in luthier(guarded, "token", "list").stdout
    assert "was revoked" in luthier(guarded, "token", "revoke", "ci").stderr
    ended = luthier(guarded, "list", token=secret)
    assert "The token ci was revoked at" in str(ended.exception)
    missing = luthier(guarded, "token", "revoke", "ci")
    assert "There is no live token ci" in str(missing.exception)
    log = json.loads(luthier(guarded, "audit", "--limit", "2", "-o", "json").stdout)
    assert [(entry["caller"], entry["status"]) for entry in log] == [("ci", 401), ("environment", 204)]


@pytest.mark.parametrize("when", ["soon", "30", "30y", "2027-13-01"])
def test_a_wrong_end_is_told(guarded: Running, when: str) -> None:
    done = luthier(guarded, "token", "create", "x", "-s", "read", "--expires", when)
    assert f"--expires {when}: give 90m" in str(done.exception)


def test_a_number_that_is_none_is_told_with_its_field(guarded: Running) -> None:
    guarded.create("s1")
    commands = (("token", "create", "x", "-s", "read", "--max-gpu-seconds"), ("update", "s1", "--weight"))
    for words, field in zip(commands, ("max_gpu_seconds", "weight"), strict=True):
        for number in ("nan", "inf"):
            done = luthier(guarded, *words, number)
            assert isinstance(done.exception, ServiceError), done.exception
            assert str(done.exception) == f"{field}: must be a finite number"
            assert [fault.path for fault in done.exception.errors] == [field]


def test_both_clients_manage_tokens(guarded: Running) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    with Client(guarded.url, USER) as admin:
        new = admin.create_token("anna", ["write"], project="vision", expires_at=end, max_parallel=2)
        with Client(guarded.url, new.secret) as anna:
            anna.create(spec("s1"))
            with pytest.raises(ServiceError, match="needs the scope admin"):
                list(anna.tokens())
        changed = admin.change_token(new.id, {"max_parallel": None, "expires_at": None})
        assert (changed.max_parallel, changed.expires_at) == (None, None)
        assert changed.last_used_at is not None
        assert [view.id for view in admin.tokens("live")] == [new.id]
        assert [entry.action for entry in admin.audit(caller="anna")] == ["GET /v1/tokens", "POST /v1/studies"]

    async def rest() -> None:
        async with AsyncClient(guarded.url, USER) as client:
            await client.revoke_token(new.id)
            assert {view.state async for view in client.tokens()} == {"revoked"}
            assert "s1" in [entry.subject async for entry in client.audit(project="vision")]

    asyncio.run(rest())
    with Client(guarded.url, new.secret) as anna, pytest.raises(ServiceError, match="The token anna was revoked"):
        list(anna.list())


def test_a_worker_works_with_a_token_of_its_own(guarded: Running) -> None:
    secret = made(guarded, "gpu-box", scopes=["worker"])["secret"]
    guarded.create("trained", budget={"trials": 1})
    worker = guarded.worker("theirs")
    worker.client.headers["Authorization"] = f"Bearer {secret}"
    worker.drain()
    assert guarded.study("trained")["state"] == "completed"
