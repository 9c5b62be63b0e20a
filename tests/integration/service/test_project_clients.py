"""The Python client and the command line name a project, and make and show projects."""

import asyncio
import json
from collections.abc import Callable, Iterator

import click
import pytest
import typer.main
from typer.testing import CliRunner

from luthier import AsyncClient, Client
from luthier.service.cli import app
from luthier.service.client import ServiceError
from luthier.service.schemas import StudyView
from tests.support.harness import Running, running, spec
from tests.support.projects import make_projects, working_in

Luthier = Callable[..., str]
WORKERS = {("worker",), ("workers",)}  # commands that work for all projects


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with the study s1 in two projects."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        make_projects(house, "one")
        house.create()
        with working_in(house, "one"):
            house.create(budget={"trials": 7})
        yield house


@pytest.fixture
def luthier(shared: Running, monkeypatch: pytest.MonkeyPatch) -> Luthier:
    """The command line on the service; it returns what was printed."""
    monkeypatch.setenv("LUTHIER_SERVER", shared.url)

    def run(*arguments: str, code: int = 0) -> str:
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == code, ended.output
        return ended.stdout

    return run


def test_a_client_works_in_one_project(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(shared.url) as everyone, Client(shared.url, project="one") as team:
        assert [everyone.get("s1").project, team.get("s1").project] == ["default", "one"]
        assert [study.spec["budget"]["trials"] for study in team.list()] == [7]
        assert list(team.schedules()) == list(team.datasets()) == []
        assert [next(team.tasks()).name, list(team.workers())] == [next(everyone.tasks()).name, []]
        for client, project in ((team, "one"), (everyone, "default")):
            told = next(client.events("s1")).data
            assert isinstance(told, StudyView)
            assert told.project == project
    monkeypatch.setenv("LUTHIER_PROJECT", "one")
    with Client(shared.url) as team, Client(shared.url, project="") as everyone:
        assert [everyone.get("s1").project, team.get("s1").project] == ["default", "one"]

    async def look() -> tuple[str, list[str]]:
        async with AsyncClient(shared.url, project="one") as client:
            return (await client.get("s1")).project, [view.name async for view in client.projects()]

    assert asyncio.run(look()) == ("one", ["default", "one"])


def test_a_client_makes_and_deletes_projects(shared: Running) -> None:
    with Client(shared.url) as client:
        assert client.set_project("two", weight=3.0, max_parallel=2).max_parallel == 2
        assert client.set_project("two", priority=1) == client.project("two")
        assert client.project("two").weight == 1.0
        client.delete_project("two")
        with pytest.raises(ServiceError, match="There is no project two"):
            client.project("two")
        with pytest.raises(ServiceError, match="There is no project two"), Client(shared.url, project="two") as nowhere:
            nowhere.create(spec())
        with pytest.raises(ValueError, match="weight"):
            client.set_project("two", weight=float("nan"))


@pytest.mark.commands
def test_every_command_that_asks_a_service_takes_a_project(luthier: Luthier) -> None:
    def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        for name, command in getattr(group, "commands", {}).items():
            yield from commands(command, (*path, name))
        if path and not hasattr(group, "commands"):
            yield path, group

    names = {path: {each.name for each in command.params} for path, command in commands(typer.main.get_command(app))}
    lacking = {path for path, params in names.items() if {"server", "project"} & params == {"server"}}
    assert lacking == WORKERS
    assert len([path for path, params in names.items() if "project" in params]) > 40


@pytest.mark.commands
def test_the_command_line_works_in_a_project(luthier: Luthier, monkeypatch: pytest.MonkeyPatch) -> None:
    def trials(*options: str) -> int:
        return int(json.loads(luthier("get", "s1", "-o", "json", *options))["spec"]["budget"]["trials"])

    assert (trials(), trials("--project", "one")) == (4, 7)
    monkeypatch.setenv("LUTHIER_PROJECT", "one")
    assert (trials(), trials("--project", "default")) == (7, 4)
    monkeypatch.delenv("LUTHIER_PROJECT")
    made = luthier("project", "set", "team-b", "--weight", "2", "--max-gpu-seconds", "3600")
    assert "0 of 3,600" in made
    listed = luthier("project", "list")
    assert [word in listed for word in ("default", "one", "team-b")] == [True] * 3
    assert json.loads(luthier("project", "get", "team-b", "-o", "json"))["weight"] == 2.0
    luthier("project", "set", "team-b", "--weight", "nan", code=1)
    luthier("project", "delete", "team-b", "--yes")
    assert "team-b" not in luthier("project", "list", "-o", "name")
