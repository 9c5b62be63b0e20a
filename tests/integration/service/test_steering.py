"""The verbs of one trial, tags, notes and orders, as the command line and the Python client have them."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from luthier import AsyncClient, Client, ServiceError
from luthier.service.cli.command import app
from luthier.service.cli.connect import CommandError
from tests.support.harness import Running, ScriptedWorker


@pytest.fixture
def study(house: Running, worker: ScriptedWorker) -> ScriptedWorker:
    """Trial 0 is complete, trial 1 failed, trial 2 runs."""
    house.started(worker, parallel=1, budget={"trials": 8})
    worker.train(worker.take())
    worker.finish(worker.take(), "failed", reason="error", problem={"message": "a cable was loose"})
    worker.train(worker.take(), steps=1)
    return worker


def luthier(house: Running, *words: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"LUTHIER_SERVER": house.url, "LUTHIER_TOKEN": ""})


def test_the_commands_about_one_trial(house: Running, study: ScriptedWorker) -> None:
    stopped = luthier(house, "stop", "s1", "2")
    assert stopped.exit_code == 0, stopped.output
    assert "stopping" in stopped.stdout
    assert house.study()["state"] == "running", "the study goes on"
    again = luthier(house, "retry", "s1", "1")
    assert "retry of 1" in again.stdout
    assert luthier(house, "delete", "s1", "1").exit_code == 0
    assert [trial["number"] for trial in house.trials()] == [0, 2, 3]
    for words in (("retry", "s1", "0"), ("delete", "s1", "2"), ("stop", "s1", "9")):
        refused = luthier(house, *words)
        assert isinstance(refused.exception, ServiceError), words
        assert refused.exception.status == (404 if "9" in words else 409)
    best = luthier(house, "trials", "s1", "--sort=-value", "--limit", "1", "-o", "json")
    assert [trial["number"] for trial in json.loads(best.stdout)] == [0]
    both = luthier(house, "trials", "s1", "--state", "running", "--state", "queued", "-o", "json")
    assert [trial["number"] for trial in json.loads(both.stdout)] == [2, 3]


@pytest.mark.full
def test_tags_and_notes_on_the_command_line(house: Running) -> None:
    for name in ("s1", "s2"):
        house.create(name)
    assert luthier(house, "update", "s1", "--tag", "a", "--tag", "b", "--notes", "<b>\x1b[31m").exit_code != 0
    done = luthier(house, "update", "s1", "--tag", "a", "--tag", "b", "--notes", "[red]<b>", "--parallel", "4")
    assert done.exit_code == 0, done.output
    assert "[red]<b>" in luthier(house, "get", "s1").stdout
    changed = luthier(house, "update", "s1", "--untag", "A", "--tag", "c", "-o", "json")
    assert json.loads(changed.stdout)["tags"] == ["b", "c"]
    assert (house.study()["notes"], house.study()["parallel"]) == ("[red]<b>", 4)
    assert luthier(house, "list", "--tag", "B", "-o", "name").stdout.split() == ["s1"]
    assert luthier(house, "list", "--search", "2", "-o", "name").stdout.split() == ["s2"]
    nothing = luthier(house, "update", "s1")
    assert isinstance(nothing.exception, CommandError)


def test_the_client_and_its_twin(house: Running, study: ScriptedWorker) -> None:
    with Client(house.url) as client:
        own = {"learning_rate": 2e-4, "batch_size": 8}
        first = client.enqueue("s1", own, key="k")
        assert client.enqueue("s1", own, key="k").number == first.number == 3
        assert client.retry_trial("s1", 1).retry_of == 1
        assert client.stop_trial("s1", 2).stopping
        client.delete_trial("s1", 3)
        order = [trial.number for trial in client.trials("s1", ["failed", "complete"], "-value")]
        assert order == [0, 1], "the failed one has no value"
        assert [trial.number for trial in client.trials("s1", sort="-number", limit=2)] == [4, 2]
        assert [file.name[:4] for file in client.trial("s1", 0).files] == ["best"]
        changed = client.update("s1", tags=["x"], notes="mine", etag=client.get("s1").etag)
        assert (changed.tags, changed.notes, changed.parallel) == (["x"], "mine", 1)
        assert [found.name for found in client.list(tag="x", search="S")] == ["s1"]

    async def use() -> int:
        async with AsyncClient(house.url) as twin:
            await twin.update("s1", tags=[])
            with pytest.raises(ServiceError) as refused:
                await twin.update("s1", notes="late", etag=changed.etag)
            await twin.delete_trial("s1", 4)
            return refused.value.status

    assert asyncio.run(use()) == 412
    assert house.study()["tags"] == []


@pytest.mark.full
def test_a_schedule_is_changed_under_its_etag_by_the_client(nightly: object, house: Running) -> None:
    nightly()  # type: ignore[operator]
    with Client(house.url) as client:
        etag = client.schedule("nightly").etag
        assert client.change_schedule("nightly", {"paused": True}, etag=etag).state == "paused"
        with pytest.raises(ServiceError) as refused:
            client.change_schedule("nightly", {"paused": False}, etag=etag)
    assert refused.value.status == 412
