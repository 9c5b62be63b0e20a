"""The class `Client`, with a method for each route that people and programs use."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.service.client.bundles import BundleMethods
from luthier.service.client.connection import Spec, body_of
from luthier.service.client.datasets import DatasetMethods
from luthier.service.client.errors import ServiceError
from luthier.service.client.events import Event, Following
from luthier.service.client.extension import ExtensionMethods
from luthier.service.client.external import ExternalMethods
from luthier.service.client.onnx import OnnxMethods
from luthier.service.client.predictions import PredictionMethods
from luthier.service.client.projects import ProjectMethods
from luthier.service.client.schedules import ScheduleMethods
from luthier.service.client.steering import SteeringMethods
from luthier.service.client.tokens import TokenMethods
from luthier.service.client.trials import TrialMethods, study_path
from luthier.service.client.watch import StudyWait
from luthier.service.download import check_vacant
from luthier.service.schemas import Page, PlanView, StudyView, TaskView, WorkerView
from luthier.studies.external import EXTERNAL
from luthier.studies.hyperparameters import Params

PLAN_SECONDS = 600.0  # a plan waits for a worker to open model and data


class Client(
    TrialMethods,
    SteeringMethods,
    ExtensionMethods,
    ExternalMethods,
    ScheduleMethods,
    DatasetMethods,
    ProjectMethods,
    PredictionMethods,
    OnnxMethods,
    BundleMethods,
    TokenMethods,
):
    """The service at a URL; a context manager that closes its connections.

    Threads may share it, except while one of them closes it. Every method raises ServiceError when the service
    refuses, and Unreachable (a ServiceError) when no answer comes; methods name the refusals that are particular to
    them. Methods that return an iterator send their requests while it is consumed.

    A spec is a file (a Path, or text that ends as a file's name does), YAML or JSON text, or a mapping. A csv that it
    names under `from.file` is read here, and its rows are sent.
    """

    # Studies

    def create(self, spec: Spec, semantics: int | None = None) -> StudyView:
        """Create a study; return the existing study if the same spec created it before.

        Args:
            spec: its spec.
            semantics: defaults and ways of scoring of an earlier version, as a bundle's spec has them; None: today's.

        Raises:
            ServiceError: 422 for a wrong spec, 409 when the name belongs to a study with another spec.
        """
        params = {} if semantics is None else {"semantics": semantics}
        return self._transport.model(StudyView, "POST", "/v1/studies", params=params, **body_of(spec))

    def get(self, name: str) -> StudyView:
        """Return a study. Raises ServiceError 404 for an unknown name."""
        return self._transport.model(StudyView, "GET", study_path(name))

    def list(
        self, state: str | None = None, tag: str | Sequence[str] | None = None, search: str | None = None
    ) -> Iterator[StudyView]:
        """Yield all studies, newest first.

        Args:
            state: only those in this state (a StudyState).
            tag: only those with this tag, or with each of these.
            search: only those whose name holds this text.
        """
        return self._transport.pages(Page[StudyView], "/v1/studies", state, tag=tag, search=search)

    def pause(self, name: str) -> StudyView:
        """Start no new trials for now."""
        return self._transport.model(StudyView, "POST", study_path(name, "pause"))

    def resume(self, name: str) -> StudyView:
        """Continue a paused study, or measure the winner of a failed one again."""
        return self._transport.model(StudyView, "POST", study_path(name, "resume"))

    def stop(self, name: str) -> StudyView:
        """Let running trials finish, start none, then measure the winner."""
        return self._transport.model(StudyView, "POST", study_path(name, "stop"))

    def cancel(self, name: str) -> StudyView:
        """End the study now, running trials too."""
        return self._transport.model(StudyView, "POST", study_path(name, "cancel"))

    def delete(self, name: str) -> None:
        """Delete an ended study, its trials and its model. Raises ServiceError 409 for one that has not ended."""
        self._transport.request("DELETE", study_path(name))

    def wait(
        self, name: str, progress: bool = False, timeout_seconds: float | None = None, interval_seconds: float = 1.0
    ) -> StudyView:
        """Wait until a study has ended, and return it, in whichever state it is then.

        Args:
            name: the study's name.
            progress: print a line on stderr whenever its state, its counts or its best score change.
            timeout_seconds: how long to wait at most; None for as long as it takes.
            interval_seconds: between two looks.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            Unreachable: the service has been away for a minute.
        """
        return StudyWait(name, progress, timeout_seconds, interval_seconds).end(lambda: self.get(name))

    def events(
        self,
        name: str | None = None,
        last_event_id: str | None = None,
        kinds: Sequence[str] = (),
        trial: int | None = None,
    ) -> Iterator[Event]:
        """Yield what happens to a study, from its present state until it has ended; or to all studies, without end.

        A stream that breaks is gone on with after the last event, so that none is missed, and none comes twice.

        Args:
            name: the study; None for all.
            last_event_id: the `id` of an event, to go on after it; "0" for all that the service has kept.
            kinds: some of study, trial, report and log; nothing for all.
            trial: of one study, only this trial's events, and the study's.

        Raises:
            ServiceError: 404 for an unknown study, 422 for an id of another service.
            Unreachable: the service has been away for a minute.
        """
        following = Following(name, last_event_id, kinds, trial)
        while True:
            try:
                with self._transport.stream(following.path, **following.options()) as answer:
                    for part in answer.iter_bytes():
                        yield from following.read(part)
                        if following.is_over:
                            return
            except ServiceError as error:
                following.excuse(error)
            time.sleep(following.pause_seconds)

    def best_params(self, name: str) -> Params:
        """Return the configuration of the best trial so far. Raises ServiceError 409 where none has a score."""
        best = self.get(name).best
        if best is None:
            raise ServiceError(409, "No best trial", f"The study {name} has no best trial yet: none has a score.")
        return best.params

    def plan(self, spec: Spec) -> PlanView:
        """Return what a spec would run; a worker opens model and data for it, and nothing is stored.

        Raises:
            ServiceError: 422 for a wrong spec, model or data; 503 without a worker.
        """
        return self._transport.model(PlanView, "POST", "/v1/plan", timeout=PLAN_SECONDS, **body_of(spec))

    # Fleet and tasks

    def tasks(self) -> Iterator[TaskView]:
        """Yield the kinds of fine-tuning, each with the columns, metrics and hyperparameters that a spec may name."""
        return self._transport.pages(Page[TaskView], "/v1/tasks")

    def workers(self) -> Iterator[WorkerView]:
        """Yield the workers of the last day."""
        return self._transport.pages(Page[WorkerView], "/v1/workers")

    # The model

    def download_model(self, name: str, into: Path | str) -> Path:
        """Put the model directory of a study's winner at `into`; it appears whole or not at all. Returns `into`.

        Raises:
            ServiceError: the service refuses, or the study has no model.
            DownloadError: the archive is damaged or unsafe.
            FileExistsError: `into` exists and is not an empty directory.
            OSError: the disk refuses the files.
        """
        into = Path(into)
        check_vacant(into)
        study = self.get(name)
        model = study.model
        if model is None and study.spec.get("task") == EXTERNAL:
            detail = f"The study {name} has no model here: its trainer is your own, and keeps its models itself."
            raise ServiceError(409, "No model", detail)
        if model is None:
            raise ServiceError(409, "No model", f"The study {name} has no model yet; `luthier get {name}` shows why.")
        return self._download(study_path(name, "model"), model.sha256, into)
