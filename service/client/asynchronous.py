"""The client for programs with an event loop: each method of `Client`, to be awaited or iterated.

A request runs in a thread of the event loop's pool, for which `Client` is safe; more requests at once than the pool has
threads stand in line. `wait` takes a thread only while it looks, and ends at once where it is cancelled.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from luthier.service.client.client import Client
from luthier.service.client.connection import stream_async
from luthier.service.client.errors import ServiceError
from luthier.service.client.events import Event, Following
from luthier.service.client.external_async import AsyncExternalTrial
from luthier.service.client.onnx import OnnxWait, check_place
from luthier.service.client.predictions import check_out
from luthier.service.client.watch import PredictionWait, StudyWait
from luthier.service.schemas import StudyView

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")
R = TypeVar("R")
_END = object()


def _awaited(method: Callable[Concatenate[Client, P], R]) -> Callable[Concatenate["AsyncClient", P], Awaitable[R]]:
    """Return a method of `Client` that runs in a thread."""

    @wraps(method)
    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self._client, *args, **kwargs)

    return call


def _iterated(
    method: Callable[Concatenate[Client, P], Iterator[R]],
) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[R]]:
    """Return a method of `Client` that yields, whose requests run in a thread."""

    @wraps(method)
    async def iterate(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        items = await asyncio.to_thread(method, self._client, *args, **kwargs)
        while (item := await asyncio.to_thread(next, items, _END)) is not _END:
            yield item  # type: ignore[misc]  # all but _END are items

    return iterate


class AsyncClient:
    """The service at a URL, for `async with`; the methods are those of `Client`.

    async with AsyncClient() as client:
        study = await client.create("study.yaml")
        async for trial in client.trials(study.name):
            print(trial)
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 60.0,
        project: str | None = None,
    ) -> None:
        """Open no connection yet; the arguments are those of `Client`."""
        self._client = Client(url, token, timeout_seconds, project)
        self.url = self._client.url

    def __repr__(self) -> str:
        """Return the class and the URL."""
        return f"AsyncClient({self.url!r})"

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    close = _awaited(Client.close)
    create = _awaited(Client.create)
    get = _awaited(Client.get)
    list = _iterated(Client.list)
    pause = _awaited(Client.pause)
    resume = _awaited(Client.resume)
    stop = _awaited(Client.stop)
    cancel = _awaited(Client.cancel)
    delete = _awaited(Client.delete)
    extend = _awaited(Client.extend)
    best_params = _awaited(Client.best_params)
    plan = _awaited(Client.plan)
    trials = _iterated(Client.trials)
    trial = _awaited(Client.trial)
    logs = _awaited(Client.logs)
    enqueue = _awaited(Client.enqueue)
    stop_trial = _awaited(Client.stop_trial)
    retry_trial = _awaited(Client.retry_trial)
    delete_trial = _awaited(Client.delete_trial)
    update = _awaited(Client.update)
    plot = _awaited(Client.plot)
    report = _awaited(Client.report)
    tell = _awaited(Client.tell)
    export = _awaited(Client.export)
    export_bundle = _awaited(Client.export_bundle)
    trials_dataframe = _awaited(Client.trials_dataframe)
    create_schedule = _awaited(Client.create_schedule)
    schedules = _iterated(Client.schedules)
    schedule = _awaited(Client.schedule)
    change_schedule = _awaited(Client.change_schedule)
    trigger = _awaited(Client.trigger)
    runs = _iterated(Client.runs)
    rollback = _awaited(Client.rollback)
    delete_schedule = _awaited(Client.delete_schedule)
    projects = _iterated(Client.projects)
    project = _awaited(Client.project)
    set_project = _awaited(Client.set_project)
    delete_project = _awaited(Client.delete_project)
    upload_dataset = _awaited(Client.upload_dataset)
    datasets = _iterated(Client.datasets)
    dataset = _awaited(Client.dataset)
    preview_dataset = _awaited(Client.preview_dataset)
    delete_dataset = _awaited(Client.delete_dataset)
    create_token = _awaited(Client.create_token)
    tokens = _iterated(Client.tokens)
    change_token = _awaited(Client.change_token)
    revoke_token = _awaited(Client.revoke_token)
    audit = _iterated(Client.audit)
    tasks = _iterated(Client.tasks)
    workers = _iterated(Client.workers)
    start_prediction = _awaited(Client.start_prediction)
    prediction = _awaited(Client.prediction)
    predictions = _iterated(Client.predictions)
    download_prediction = _awaited(Client.download_prediction)
    delete_prediction = _awaited(Client.delete_prediction)
    take_prediction = _awaited(Client.take_prediction)
    start_onnx = _awaited(Client.start_onnx)
    onnx = _awaited(Client.onnx)
    download_onnx = _awaited(Client.download_onnx)
    delete_onnx = _awaited(Client.delete_onnx)
    results = _awaited(Client.results)
    write_report = _awaited(Client.write_report)
    download_model = _awaited(Client.download_model)
    download_champion = _awaited(Client.download_champion)

    async def ask(self, name: str, **options: Any) -> "AsyncExternalTrial | None":
        """Return a trial of an external study as `Client.ask` does, for `async with`."""
        trial = await asyncio.to_thread(self._client.ask, name, **options)
        return None if trial is None else AsyncExternalTrial(trial)

    async def external_trials(self, name: str, **options: Any) -> "AsyncIterator[AsyncExternalTrial]":
        """Yield trials of an external study as `Client.external_trials` does; use each with `async with`."""
        trials = self._client.external_trials(name, **options)
        while (trial := await asyncio.to_thread(next, trials, None)) is not None:
            yield AsyncExternalTrial(trial)

    async def wait(
        self, name: str, progress: bool = False, timeout_seconds: float | None = None, interval_seconds: float = 1.0
    ) -> StudyView:
        """Wait as `Client.wait` does, between two looks in the event loop, so that many can wait at once."""
        wait = StudyWait(name, progress, timeout_seconds, interval_seconds)
        return await wait.end_async(lambda: self.get(name))

    async def predict(
        self,
        name: str,
        table: "str | Path | pd.DataFrame | Iterable[Mapping[str, Any]]",
        out: Path | str | None = None,
        timeout_seconds: float | None = None,
        interval_seconds: float = 1.0,
    ) -> Any:
        """Predict as `Client.predict` does, between two looks in the event loop."""
        check_out(out)
        sent = await self.start_prediction(name, table)
        wait = PredictionWait(sent, timeout_seconds, interval_seconds)
        found = await wait.end_async(lambda: self.prediction(name, sent.id))
        return await self.take_prediction(found, table, out)

    async def export_onnx(
        self, name: str, into: Path | str, timeout_seconds: float | None = None, interval_seconds: float = 1.0
    ) -> Path:
        """Export as `Client.export_onnx` does, between two looks in the event loop."""
        check_place(Path(into))
        await self.start_onnx(name)
        await OnnxWait(name, timeout_seconds, interval_seconds).end_async(lambda: self.onnx(name))
        return await self.download_onnx(name, into)

    async def events(
        self,
        name: str | None = None,
        last_event_id: str | None = None,
        kinds: Sequence[str] = (),
        trial: int | None = None,
    ) -> AsyncIterator[Event]:
        """Yield what `Client.events` yields; it takes no thread, so that many can be followed at once."""
        following = Following(name, last_event_id, kinds, trial)
        while True:
            try:
                async with stream_async(self._client, following.path, **following.options()) as answer:
                    async for part in answer.aiter_bytes():
                        for event in following.read(part):
                            yield event
                        if following.is_over:
                            return
            except ServiceError as error:
                following.excuse(error)
            await asyncio.sleep(following.pause_seconds)
