"""The class `Client`, with a method for each route that people and programs use."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from luthier.service.client.errors import ServiceError
from luthier.service.client.plot import Plot
from luthier.service.client.transport import Transport
from luthier.service.download import check_vacant, receive, unpack
from luthier.service.schemas import Page, PlanView, RunView, ScheduleView, StudyView, TaskView, TrialView, WorkerView

PLAN_SECONDS = 600.0  # a plan waits for a worker to open model and data

Spec = str | Mapping[str, Any]  # YAML or JSON text, or the parsed document


class Client:
    """The service at a URL; a context manager that closes its connections.

    Threads may share it, except while one of them closes it. Every method raises ServiceError when the service
    refuses, and Unreachable (a ServiceError) when no answer comes; methods name the refusals that are particular to
    them. Methods that return an iterator send their requests while it is consumed.
    """

    def __init__(self, url: str, token: str | None = None, timeout_seconds: float = 60.0) -> None:
        """Open no connection yet.

        Args:
            url: the service, as http://127.0.0.1:8000.
            token: the service's token, if it has one.
            timeout_seconds: how long to wait to connect, and for each part of an answer.

        Raises:
            Unreachable: `url` is no URL.
        """
        self._transport = Transport(url, token, timeout_seconds)
        self.url = self._transport.url

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._transport.close()

    # Studies

    def create(self, spec: Spec) -> StudyView:
        """Create a study; return the existing study if the same spec created it before.

        Raises:
            ServiceError: 422 for a wrong spec, 409 when the name belongs to a study with another spec.
        """
        return self._transport.model(StudyView, "POST", "/v1/studies", **_body(spec))

    def get(self, name: str) -> StudyView:
        """Return a study. Raises ServiceError 404 for an unknown name."""
        return self._transport.model(StudyView, "GET", _study(name))

    def list(self, state: str | None = None) -> Iterator[StudyView]:
        """Yield all studies, newest first; only those in `state` (a StudyState), if given."""
        return self._transport.pages(Page[StudyView], "/v1/studies", state)

    def pause(self, name: str) -> StudyView:
        """Start no new trials for now."""
        return self._transport.model(StudyView, "POST", _study(name, "pause"))

    def resume(self, name: str) -> StudyView:
        """Continue a paused study, or measure the winner of a failed one again."""
        return self._transport.model(StudyView, "POST", _study(name, "resume"))

    def stop(self, name: str) -> StudyView:
        """Let running trials finish, start none, then measure the winner."""
        return self._transport.model(StudyView, "POST", _study(name, "stop"))

    def cancel(self, name: str) -> StudyView:
        """End the study now, running trials too."""
        return self._transport.model(StudyView, "POST", _study(name, "cancel"))

    def delete(self, name: str) -> None:
        """Delete an ended study, its trials and its model. Raises ServiceError 409 for one that has not ended."""
        self._transport.request("DELETE", _study(name))

    def plan(self, spec: Spec) -> PlanView:
        """Return what a spec would run; a worker opens model and data for it, and nothing is stored.

        Raises:
            ServiceError: 422 for a wrong spec, model or data; 503 without a worker.
        """
        return self._transport.model(PlanView, "POST", "/v1/studies:plan", timeout=PLAN_SECONDS, **_body(spec))

    # Trials

    def trials(self, name: str, state: str | None = None) -> Iterator[TrialView]:
        """Yield a study's trials by number; only those in `state` (a TrialState), if given."""
        return self._transport.pages(Page[TrialView], _study(name, "trials"), state)

    def trial(self, name: str, number: int) -> TrialView:
        """Return one trial of a study."""
        return self._transport.model(TrialView, "GET", _study(name, "trials", str(number)))

    def logs(self, name: str, number: int) -> str:
        """Return what a trial has printed, up to its worker's latest message."""
        return self._transport.request("GET", _study(name, "trials", str(number), "logs")).text

    def enqueue(self, name: str, params: Mapping[str, Any], seed: int | None = None) -> TrialView:
        """Have this configuration run next.

        Args:
            name: the study's name.
            params: hyperparameter -> value; the sampler draws the others.
            seed: as another trial shows it: the same configuration with the same seed gives the same scores, also
                where the study has it already. None: the seed of the trial's number.

        Raises:
            ServiceError: 422 when the configuration lies outside the study's space; 409 when the study takes no trial,
                or has this configuration already and no seed is given.
        """
        body = {"params": dict(params)} | ({} if seed is None else {"seed": seed})
        return self._transport.model(TrialView, "POST", _study(name, "trials"), json=body)

    def plot(self, name: str, kind: str) -> Plot:
        """Return a plot of a study's search, which a notebook shows.

        Args:
            name: the study's name.
            kind: history, importance, parallel, slice, contour, intermediate or timeline.

        Raises:
            ServiceError: 404 for an unknown study, 422 for an unknown kind, 409 where there is nothing to draw yet.
        """
        path = _study(name, "plots", kind)
        figure = self._transport.request("GET", path, params={"format": "json"}).text
        return Plot(
            f"{name}-{kind}", figure, lambda: self._transport.request("GET", path, params={"standalone": True}).text
        )

    # Schedules

    def create_schedule(self, spec: Spec) -> ScheduleView:
        """Create a schedule; return the existing schedule if the same document created it before.

        Raises:
            ServiceError: 422 for a wrong document, 409 when the name belongs to another schedule.
        """
        return self._transport.model(ScheduleView, "POST", "/v1/schedules", **_body(spec))

    def schedules(self) -> Iterator[ScheduleView]:
        """Yield all schedules, newest first."""
        return self._transport.pages(Page[ScheduleView], "/v1/schedules")

    def schedule(self, name: str) -> ScheduleView:
        """Return a schedule. Raises ServiceError 404 for an unknown name."""
        return self._transport.model(ScheduleView, "GET", _schedule(name))

    def change_schedule(self, name: str, changes: Mapping[str, Any]) -> ScheduleView:
        """Replace some keys of a schedule, each as a whole; None puts a key back to its default."""
        return self._transport.model(ScheduleView, "PATCH", _schedule(name), json=dict(changes))

    def trigger(self, name: str) -> RunView:
        """Run a schedule now, also on unchanged data. Raises ServiceError 409 while another run forbids it."""
        return self._transport.model(RunView, "POST", _schedule(name, "trigger"))

    def runs(self, name: str) -> Iterator[RunView]:
        """Yield every due time of a schedule and its outcome, newest first."""
        return self._transport.pages(Page[RunView], _schedule(name, "runs"))

    def rollback(self, name: str) -> ScheduleView:
        """Put the champion before the present one back into use. Raises ServiceError 409 where there is none."""
        return self._transport.model(ScheduleView, "POST", _schedule(name, "rollback"))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule, its runs and its champions; the studies of its runs stay."""
        self._transport.request("DELETE", _schedule(name))

    # Fleet and tasks

    def tasks(self) -> Iterator[TaskView]:
        """Yield the kinds of fine-tuning, each with the columns, metrics and hyperparameters that a spec may name."""
        return self._transport.pages(Page[TaskView], "/v1/tasks")

    def workers(self) -> Iterator[WorkerView]:
        """Yield the workers of the last day."""
        return self._transport.pages(Page[WorkerView], "/v1/workers")

    # The model

    def download_model(self, name: str, into: Path) -> Path:
        """Put the model directory of a study's winner at `into`; it appears whole or not at all. Returns `into`.

        Raises:
            ServiceError: the service refuses, or the study has no model.
            DownloadError: the archive is damaged or unsafe.
            FileExistsError: `into` exists and is not an empty directory.
            OSError: the disk refuses the files.
        """
        check_vacant(into)
        model = self.get(name).model
        if model is None:
            raise ServiceError(409, "No model", f"The study {name} has no model yet; `luthier get {name}` shows why.")
        return self._download(_study(name, "model"), model.sha256, into)

    def download_champion(self, name: str, into: Path) -> Path:
        """Put the model that a schedule has in use now at `into`. Returns and raises as `download_model` does."""
        check_vacant(into)
        return self._download(_schedule(name, "champion"), None, into)

    def _download(self, path: str, sha256: str | None, into: Path) -> Path:
        """Download and unpack beside `into`, then rename. Without `sha256` the checksum of the answer counts."""
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as scratch:
            archive = Path(scratch, "model.tar.gz")
            with self._transport.stream(path) as response:
                expected = sha256 or response.headers.get("X-Content-SHA256")
                receive(response.iter_bytes(), archive, expected, f"{self.url}{path}")
            unpack(archive, Path(scratch, "model"))
            Path(scratch, "model").replace(into)
        return into


def _study(name: str, *rest: str) -> str:
    return "/".join(("/v1/studies", *(quote(part, safe="") for part in (name, *rest))))


def _schedule(name: str, *rest: str) -> str:
    return "/".join(("/v1/schedules", *(quote(part, safe="") for part in (name, *rest))))


def _body(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, str):
        return {"content": spec.encode(), "headers": {"Content-Type": "application/yaml"}}
    return {"json": dict(spec)}
