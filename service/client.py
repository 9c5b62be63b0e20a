"""A typed client of the service.

    with Client("http://127.0.0.1:8000", token) as client:
        study = client.create(Path("study.yaml").read_text())
        for trial in client.trials(study.name):
            print(trial.number, trial.value)

Errors:

    ServiceError        the service refused: status, title, detail, and the path of each wrong value
    └── Unreachable     no answer came: nothing listens there, or it took too long
    DownloadError       what came down is not the model the study names
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from luthier.service.download import DownloadError, check_vacant, unpack
from luthier.service.schemas import (
    Fault,
    Page,
    PlanView,
    ProblemView,
    RunView,
    ScheduleView,
    StudyView,
    TaskView,
    TrialView,
    WorkerView,
)
from luthier.studies.host import is_loopback

PAGE = 200  # items asked for at once
PLAN_SECONDS = 600.0  # a plan waits for a worker to open model and data

M = TypeVar("M", bound=BaseModel)
Spec = str | Mapping[str, Any]  # YAML or JSON text, or the parsed document


class ServiceError(Exception):
    """The service refused a request. `errors` lists each wrong value with its path and the cure."""

    def __init__(self, status: int, title: str, detail: str, errors: Sequence[Fault] = ()) -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail, self.errors = status, title, detail, list(errors)


class Unreachable(ServiceError):
    """No answer came from the service; `status` is 0."""

    def __init__(self, detail: str) -> None:
        super().__init__(0, "Unreachable", detail)


class Client:
    """The service at `url`. Not to be shared between threads that close it."""

    def __init__(self, url: str, token: str | None = None, timeout_seconds: float = 60.0) -> None:
        self.url = url.rstrip("/")
        with self._reaching():
            host = httpx.URL(self.url).host
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout_seconds,
            trust_env=not is_loopback(host),  # a proxy cannot reach this machine's own loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Studies

    def create(self, spec: Spec) -> StudyView:
        """Create a study, or return it where the same spec made it before.

        Raises ServiceError: 422 for a wrong spec, 409 when the name belongs to another one.
        """
        return self._model(StudyView, "POST", "/v1/studies", **_body(spec))

    def get(self, name: str) -> StudyView:
        return self._model(StudyView, "GET", _study(name))

    def list(self, state: str | None = None) -> Iterator[StudyView]:
        return self._pages(Page[StudyView], "/v1/studies", state)

    def pause(self, name: str) -> StudyView:
        """Start no new trials for now."""
        return self._model(StudyView, "POST", _study(name, "pause"))

    def resume(self, name: str) -> StudyView:
        return self._model(StudyView, "POST", _study(name, "resume"))

    def stop(self, name: str) -> StudyView:
        """Let running trials finish, start none, then measure the winner."""
        return self._model(StudyView, "POST", _study(name, "stop"))

    def cancel(self, name: str) -> StudyView:
        """End the study now, running trials too."""
        return self._model(StudyView, "POST", _study(name, "cancel"))

    def delete(self, name: str) -> None:
        """Delete an ended study, its trials and its model."""
        self._request("DELETE", _study(name))

    def plan(self, spec: Spec) -> PlanView:
        """What a spec would run; a worker opens model and data for it, and nothing is stored."""
        return self._model(PlanView, "POST", "/v1/studies:plan", timeout=PLAN_SECONDS, **_body(spec))

    # Trials

    def trials(self, name: str, state: str | None = None) -> Iterator[TrialView]:
        return self._pages(Page[TrialView], _study(name, "trials"), state)

    def trial(self, name: str, number: int) -> TrialView:
        return self._model(TrialView, "GET", _study(name, "trials", str(number)))

    def logs(self, name: str, number: int) -> str:
        return self._request("GET", _study(name, "trials", str(number), "logs")).text

    def enqueue(self, name: str, params: Mapping[str, Any]) -> TrialView:
        """Have this configuration run next. Raises ServiceError 422 when it lies outside the study's space."""
        return self._model(TrialView, "POST", _study(name, "trials"), json={"params": dict(params)})

    # Schedules

    def create_schedule(self, spec: Spec) -> ScheduleView:
        """Create a schedule, or return it where the same made it before. Raises ServiceError: 422, 409."""
        return self._model(ScheduleView, "POST", "/v1/schedules", **_body(spec))

    def schedules(self) -> Iterator[ScheduleView]:
        return self._pages(Page[ScheduleView], "/v1/schedules")

    def schedule(self, name: str) -> ScheduleView:
        return self._model(ScheduleView, "GET", _schedule(name))

    def change_schedule(self, name: str, changes: Mapping[str, Any]) -> ScheduleView:
        """Replace some of its keys; None puts one back to its default."""
        return self._model(ScheduleView, "PATCH", _schedule(name), json=dict(changes))

    def trigger(self, name: str) -> RunView:
        """Run now, also on unchanged data. Raises ServiceError 409 while another run forbids it."""
        return self._model(RunView, "POST", _schedule(name, "trigger"))

    def runs(self, name: str) -> Iterator[RunView]:
        """Every due time and what came of it, newest first."""
        return self._pages(Page[RunView], _schedule(name, "runs"))

    def rollback(self, name: str) -> ScheduleView:
        """Put the champion before the present one back into use."""
        return self._model(ScheduleView, "POST", _schedule(name, "rollback"))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule, its runs and its champions; the studies of its runs stay."""
        self._request("DELETE", _schedule(name))

    # Fleet and tasks

    def tasks(self) -> Iterator[TaskView]:
        return self._pages(Page[TaskView], "/v1/tasks")

    def workers(self) -> Iterator[WorkerView]:
        return self._pages(Page[WorkerView], "/v1/workers")

    # The model

    def download_model(self, name: str, into: Path) -> Path:
        """Put the winner's model directory at `into`, which must not exist or be empty; it appears whole or not at all.

        Raises ServiceError (the study has no model), DownloadError, FileExistsError and other OSErrors.
        """
        check_vacant(into)
        model = self.get(name).model
        if model is None:
            raise ServiceError(409, "No model", f"The study {name} has no model yet; `luthier get {name}` shows why.")
        return self._download(_study(name, "model"), model.sha256, into)

    def download_champion(self, name: str, into: Path) -> Path:
        """Likewise for the model that a schedule has in use now."""
        check_vacant(into)
        return self._download(_schedule(name, "champion"), None, into)

    def _download(self, path: str, sha256: str | None, into: Path) -> Path:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as scratch:
            archive, unpacked = Path(scratch, "model.tar.gz"), Path(scratch, "model")
            with archive.open("wb") as file:
                self._fetch(path, file, sha256)
            unpack(archive, unpacked)
            unpacked.replace(into)
        return into

    def _fetch(self, path: str, file: BinaryIO, sha256: str | None) -> None:
        """Download into `file`. Without `sha256` the answer itself says what it must be. Raises DownloadError."""
        digest = hashlib.sha256()
        with self._reaching(), self._http.stream("GET", path) as response:
            if response.is_error:
                response.read()
            _check(response)
            wanted = sha256 or response.headers.get("X-Content-SHA256")
            for chunk in response.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != wanted:
            raise DownloadError(
                f"The model from {self.url}{path} is damaged: its SHA-256 is {digest.hexdigest()}, "
                f"the service says {wanted}. Download it again."
            )

    # The wire

    def _pages(self, kind: type[Page[M]], path: str, state: str | None = None) -> Iterator[M]:
        query: dict[str, str | int] = {"limit": PAGE} | ({"state": state} if state else {})
        while True:
            page = self._model(kind, "GET", path, params=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def _model(self, kind: type[M], method: str, path: str, **request: Any) -> M:
        response = self._request(method, path, **request)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            raise ServiceError(
                response.status_code,
                "Not understood",
                f"{self.url}{path} did not answer as Luthier does; check the URL.",
            ) from None

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._reaching():
            response = self._http.request(method, path, **request)
        _check(response)
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise Unreachable(f"The service at {self.url} did not answer in time.") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(f"No service can be reached at {self.url}: {error or type(error).__name__}.") from None


def _study(name: str, *rest: str) -> str:
    return "/".join(("/v1/studies", *(quote(part, safe="") for part in (name, *rest))))


def _schedule(name: str, *rest: str) -> str:
    return "/".join(("/v1/schedules", *(quote(part, safe="") for part in (name, *rest))))


def _body(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, str):
        return {"content": spec.encode(), "headers": {"Content-Type": "application/yaml"}}
    return {"json": dict(spec)}


def _check(response: httpx.Response) -> None:
    """Raise ServiceError for anything but success."""
    if response.is_success:
        return
    try:
        problem = ProblemView.model_validate_json(response.content)
    except ValidationError:
        status, reason = response.status_code, response.reason_phrase
        raise ServiceError(status, reason, f"{response.request.url} answered {status} {reason}.") from None
    detail = problem.detail or problem.title
    if response.status_code == 401:
        detail += " Give the service's token in LUTHIER_TOKEN."
    raise ServiceError(response.status_code, problem.title, detail, problem.errors)
