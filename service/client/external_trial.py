"""A trial of an external study in the hands of its trainer: reports, the lease renewed in the background, the end."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, SupportsFloat, TypeVar

from luthier.service.client.errors import ServiceError
from luthier.service.client.external_reports import Failure, ReportMethods, State
from luthier.service.schemas import AskedTrialView, TrialView
from luthier.studies.protocol import FINISHED, Decision

AWAY_SECONDS = 600.0  # for so long a service that does not answer is waited for, while a trial runs
PASSING = (0, 502, 503, 504)  # statuses of a service, or a proxy before it, that may answer later; 0: no answer
LOST = 409
Caught = tuple[type[Exception], ...]
R = TypeVar("R")


class ExternalTrial:
    """A trial that is leased to this program.

    Used with `with`, its lease is renewed in the background. Leaving the block tells the end: complete with the scores
    reported, or pruned where a report was answered so; after an exception failed, with its text; after an interrupt
    released, for another trainer to continue.

    Attributes:
        study: the study's name.
        number: the trial's.
        params: its configuration.
        seed: for everything random in it.
        attempt: 1 for the first; more where an earlier trainer vanished.
        steps: the last step that a trial reports, where the study says it.
        resume: where an earlier attempt ended: its last `step`, and its `checkpoint` as it was reported.
        decision: the service's latest answer; `cancel` once the lease is lost.
        ended: the trial as the service has it after its end; None before, and where the lease was lost.
        view: the answer to the request, with the token of the lease.
    """

    def __init__(
        self, client: ReportMethods, view: AskedTrialView, away_seconds: float = AWAY_SECONDS, catch: Caught = ()
    ) -> None:
        """Take a trial that was asked for; `Client.ask` does so, with the arguments of that."""
        self.view = view
        self.study, self.number, self.params, self.seed = view.study, view.number, view.params, view.seed
        self.attempt, self.steps, self.resume = view.attempt, view.steps, view.resume
        self.decision = Decision.CONTINUE
        self.ended: TrialView | None = None
        self._client, self._token, self._lease_seconds = client, view.token, view.lease_seconds
        self._away_seconds, self._catch = away_seconds, catch
        self._over, self._telling = threading.Event(), threading.Lock()
        self._renewal: threading.Thread | None = None

    def __repr__(self) -> str:
        """Return the trial in a line; its token is never shown."""
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"<ExternalTrial {self.number} of {self.study} ({params})>"

    @property
    def should_stop(self) -> bool:
        """Whether to train no further: the trial is pruned, the study's time is up, or the lease is lost."""
        return self.decision is not Decision.CONTINUE

    def report(
        self,
        step: int,
        metrics: Mapping[str, SupportsFloat] | None = None,
        *,
        checkpoint: str | None = None,
        log: str = "",
        **scores: SupportsFloat,
    ) -> Decision:
        """Report an evaluation, and return whether to go on: continue, prune, stop, or cancel where the lease is lost.

        Args:
            step: of the evaluation, from 1, in your own unit; each is above the one before.
            metrics: name -> score, for names that are no Python words.
            checkpoint: where another trainer could continue, as a path or URL.
            log: new lines of the trial's log.
            scores: name=score, the study's objective among them.

        Raises:
            ServiceError: 422 where the objective is missing or a name is none.
            Unreachable: the service was away for longer than `away_seconds`.
        """
        said = {**(metrics or {}), **scores}
        decision = self._send(
            lambda: self._client.report(self.study, self._token, step, said, checkpoint=checkpoint, log=log)
        )
        if decision is not None:
            self._obey(decision)
        return self.decision

    def complete(
        self,
        value: SupportsFloat | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        **scores: SupportsFloat,
    ) -> TrialView | None:
        """End the trial as complete, with a final score or with those reported; None where the lease was lost.

        A score that is not finite ends it as diverged.
        """
        return self._tell("complete", value=value, metrics={**(metrics or {}), **scores})

    def prune(self) -> TrialView | None:
        """End the trial as pruned; None where the lease was lost."""
        return self._tell("pruned")

    def fail(self, message: str, reason: Failure = "error") -> TrialView | None:
        """End the trial as failed; None where the lease was lost."""
        return self._tell("failed", message=message, reason=reason)

    def release(self) -> TrialView | None:
        """Give the trial back, for another trainer to continue; None where the lease was lost."""
        return self._tell("released")

    def __enter__(self) -> Self:
        """Renew the lease in the background from now on."""
        self._renewal = threading.Thread(target=self._renew, name=f"luthier-trial-{self.number}", daemon=True)
        self._renewal.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Tell the end, unless it was told before; exceptions in `catch` end here."""
        if self._over.is_set():
            return error is not None and isinstance(error, self._catch)
        if error is None:
            self._tell_success()
            return False
        with suppress(ServiceError):  # the lease runs out; what the trainer raised counts more
            if isinstance(error, Exception):
                self.fail(f"{type(error).__name__}: {error}", _reason(error))
            else:
                self.release()
        self._over.set()
        return isinstance(error, self._catch)

    def _tell_success(self) -> None:
        if self.decision is Decision.PRUNE:
            self.prune()
            return
        try:
            self.complete()
        except ServiceError as refused:
            self.fail(refused.detail)
            raise

    def _tell(self, state: State, **end: Any) -> TrialView | None:
        def tell() -> TrialView:
            return self._client.tell(self.study, self._token, state, **end)

        with self._telling:
            if self.ended is not None and self.ended.state in FINISHED:  # another end is refused with a sentence
                return patiently(tell, self._away_seconds)
            self.ended = self._send(tell)
            self._over.set()
        return self.ended

    def _send(self, send: Callable[[], R]) -> R | None:
        """Send a message under the lease, and return the answer; None once the lease is lost."""
        if self.decision is Decision.CANCEL:
            return None
        try:
            return patiently(send, self._away_seconds)
        except ServiceError as error:
            if error.status != LOST:
                raise
        self._lose()
        return None

    def _lose(self) -> None:
        self.decision = Decision.CANCEL
        self._over.set()

    def _obey(self, decision: Decision) -> None:
        """Keep the first decision that ends the trial."""
        if self.decision is Decision.CONTINUE:
            self.decision = decision

    def _renew(self) -> None:
        """Renew the lease at once, which says that the trial was received, then three times while it lasts."""
        while True:
            try:
                self._obey(self._client.report(self.study, self._token))
            except ServiceError as error:
                if error.status == LOST:
                    with self._telling:  # the end may just have been told
                        if not self._over.is_set():
                            self._lose()
            if self._over.wait(self._lease_seconds / 3):
                return


def patiently(call: Callable[[], R], away_seconds: float) -> R:
    """Return what `call` returns, repeated while the service is away, for so many seconds. Raises ServiceError."""
    until, pause = time.monotonic() + away_seconds, 0.1
    while True:
        try:
            return call()
        except ServiceError as error:
            if error.status not in PASSING or time.monotonic() >= until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _reason(error: Exception) -> Failure:
    """Return the reason of a failure: out of memory (also torch's and JAX's own error), diverged, or an error."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or "OutOfMemory" in name or "RESOURCE_EXHAUSTED" in str(error)[:200]:
        return "oom"
    return "diverged" if isinstance(error, FloatingPointError) else "error"
