"""The Python client as a program or a notebook uses it, on a real service without workers."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from luthier import AsyncClient, Client, ServiceError
from luthier.service.client.plot import Plot
from luthier.service.schemas import BestView, StudyView
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from luthier.studies.protocol import StudyState
from tests.support.command_line import SPEC
from tests.support.play import MODEL, packed, play

TEXT = SPEC.format(name="one") + "pruner: {name: none}\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A service with the ended study `one`: three trials, of which number 1 is the best."""
    with Embedded(Settings(home=tmp_path_factory.mktemp("home")), study="one", fleet="none") as running:
        with Client(running.url, running.token) as client:
            client.create(TEXT)
        play(running, [[0.6], [0.75], [0.5]], packed(MODEL))
        yield running


@pytest.fixture
def client(service: Embedded, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client that takes the service and its token from the environment."""
    monkeypatch.setenv("LUTHIER_SERVER", service.url)
    monkeypatch.setenv("LUTHIER_TOKEN", service.token)
    with Client() as client:
        yield client


def test_the_environment_names_the_service_and_its_token(client: Client, service: Embedded) -> None:
    assert client.get("one").name == "one"
    assert repr(client) == f"Client('{service.url}')"
    for token in ("", "not-the-token-of-this-service"):
        with Client(token=token) as other, pytest.raises(ServiceError, match="token") as refused:
            other.get("one")
        assert refused.value.status == 401


def test_a_spec_is_a_file_a_text_or_a_mapping(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(TEXT)
    document = {"name": "one", "task": "text-classification", "model": "models/none", "pruner": {"name": "none"}}
    document |= {"dataset": {"source": "data/none.csv"}, "budget": {"trials": 3}}
    document |= {"space": {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "batch_size": [8, 16]}}
    same = [client.create(spec) for spec in (TEXT, file, str(file), document, json.dumps(document))]
    assert {study.created_at for study in same} == {client.get("one").created_at}
    with pytest.raises(FileNotFoundError):
        client.create("nowhere.yaml")


def test_what_a_study_found_is_there_as_params_rows_and_a_frame(client: Client, tmp_path: Path) -> None:
    best = client.wait("one", timeout_seconds=0)
    assert client.best_params("one") == best.best_params == client.trial("one", 1).params
    frame = client.trials_dataframe("one")
    assert list(frame["value"]) == [0.6, 0.75, 0.5]
    assert list(frame.index) == [0, 1, 2]
    assert frame["params.learning_rate"][1] == client.best_params("one")["learning_rate"]
    text = client.export("one", tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text() == text
    assert [row["value"] for row in csv.DictReader(io.StringIO(text))] == ["0.6", "0.75", "0.5"]
    lines = client.export("one", form="jsonl").splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]
    with pytest.raises(ValueError, match="csv, jsonl"):
        client.export("one", form="xlsx")  # type: ignore[arg-type]
    folder = client.download_model("one", str(tmp_path / "winner"))
    assert (folder / "config.json").exists()


def test_waiting_tells_each_change_once_and_gives_up_in_time(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, look = client.get("one"), client.get
    earlier = [ended.model_copy(update={"state": StudyState.RUNNING, "best": None})] * 2
    answers = iter([*earlier, ServiceError(503, "Unavailable", "Try again."), ended])

    def get(name: str) -> StudyView:
        answer = next(answers)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    monkeypatch.setattr(client, "get", get)
    assert client.wait("one", progress=True, interval_seconds=0) is ended
    assert capsys.readouterr().err.splitlines() == [repr(earlier[0]), repr(ended)]
    monkeypatch.setattr(client, "get", look)
    client.create(SPEC.format(name="two"))
    with pytest.raises(TimeoutError, match="two has not ended after 0 s"):
        client.wait("two", timeout_seconds=0)
    with pytest.raises(ServiceError, match="no best trial"):
        client.best_params("two")


def test_studies_and_trials_are_short_and_escaped(client: Client) -> None:
    study, trial = client.get("one"), client.trial("one", 1)
    assert repr(study) == "<Study one: completed, 3/3 trials done, best accuracy 0.7500 (trial 1)>"
    assert repr(trial).startswith("<Trial 1: complete, 0.7500 (learning_rate=")
    best = BestView(trial=1, value=0.5, params={"optimizer": "<b>adamw</b>"})
    assert study.model_copy(update={"error": "<script>", "best": best})._repr_html_().count("<") == (
        study.model_copy(update={"error": "script", "best": best})._repr_html_().count("<")
    )
    assert "progress" in study._repr_html_()
    assert "<td>complete</td>" in trial._repr_html_()


def test_a_plot_shows_itself_in_a_notebook(client: Client) -> None:
    plot = client.plot("one", "history")
    assert plot.figure["data"]
    assert plot._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    frame = Plot('"><script>', "{}", plot.page, plot.png)._repr_html_()
    assert 'title="&quot;&gt;&lt;script&gt;"' in frame
    assert 'sandbox="allow-scripts allow-downloads"' in frame, "a page of the service reaches nothing of the notebook"
    assert frame.count("<") == 2
    assert repr(plot).startswith("<Plot one-history")
    with pytest.raises(ServiceError) as refused:
        client.plot("one", "pie")
    assert refused.value.status == 422


def test_the_twin_for_event_loops_has_every_method(client: Client) -> None:
    methods = {name for name in dir(Client) if not name.startswith("_")}
    assert methods <= set(dir(AsyncClient))

    async def ask() -> tuple[StudyView, list[int], list[str]]:
        async with AsyncClient() as twin:
            study, trials = await asyncio.gather(twin.get("one"), twin.trial("one", 1))
            numbers = [trial.number async for trial in twin.trials("one")]
            with pytest.raises(ServiceError, match="no study named"):
                await twin.get("nobody")
            return study, [trials.number, *numbers], [task.name async for task in twin.tasks()]

    study, numbers, tasks = asyncio.run(ask())
    assert study == client.get("one")
    assert numbers == [1, 0, 1, 2]
    assert "text-classification" in tasks


def test_a_wait_that_is_given_up_looks_no_more(client: Client) -> None:
    client.create(SPEC.format(name="never-run"))

    async def give_up() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with AsyncClient() as twin:
            ask = twin._client._transport.model

            def model(*asked: Any) -> Any:
                looks.append("look")
                return ask(*asked)

            twin._client._transport.model = model  # type: ignore[method-assign]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(twin.wait("never-run", timeout_seconds=2, interval_seconds=0.01), 0.1)
            looks.append("given up")
            await twin.get("never-run")  # once the only thread is free

    looks: list[str] = []
    asyncio.run(give_up())
    assert "given up" in looks[-3:-1], "only a look that had begun goes on"


def test_more_waits_than_threads_keep_no_request_from_its_answer(client: Client) -> None:
    client.create(SPEC.format(name="awaited"))

    async def cancelled() -> list[StudyView]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with AsyncClient() as twin:
            waits = [twin.wait("awaited", timeout_seconds=20, interval_seconds=0.01) for _ in range(10)]
            tasks = [asyncio.create_task(wait) for wait in waits]
            await asyncio.sleep(0)
            assert (await twin.get("awaited")).state is StudyState.QUEUED
            assert not any(task.done() for task in tasks)
            await twin.cancel("awaited")
            return await asyncio.gather(*tasks)

    assert [study.state for study in asyncio.run(cancelled())] == [StudyState.CANCELLED] * 10


def test_a_wait_in_an_event_loop_ends_in_time_and_tells_what_changed(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create(SPEC.format(name="late"))

    async def wait() -> StudyView:
        async with AsyncClient() as twin:
            with pytest.raises(TimeoutError, match="late has not ended after 0 s"):
                await twin.wait("late", timeout_seconds=0)
            with pytest.raises(ServiceError, match="no study named"):
                await twin.wait("nobody")
            return await twin.wait("one", progress=True)

    assert asyncio.run(wait()) == client.get("one")
    assert capsys.readouterr().err == f"{client.get('one')!r}\n"
