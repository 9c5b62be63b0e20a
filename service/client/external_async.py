"""A trial of an external study for programs with an event loop: `ExternalTrial`, with requests in threads."""

import asyncio
from types import TracebackType
from typing import Any, Self

from luthier.service.client.external_trial import ExternalTrial
from luthier.service.schemas import TrialView
from luthier.studies.protocol import Decision


class AsyncExternalTrial:
    """A trial that is leased to this program, for `async with`; methods and attributes are those of `ExternalTrial`."""

    def __init__(self, trial: ExternalTrial) -> None:
        """Stand for a trial that was asked for."""
        self.study, self.number, self.params, self.seed = trial.study, trial.number, trial.params, trial.seed
        self.attempt, self.steps, self.resume = trial.attempt, trial.steps, trial.resume
        self._trial = trial

    def __repr__(self) -> str:
        """Return the trial in a line."""
        return f"Async{self._trial!r}"

    @property
    def decision(self) -> Decision:
        """The service's latest answer; `cancel` once the lease is lost."""
        return self._trial.decision

    @property
    def should_stop(self) -> bool:
        """Whether to train no further."""
        return self._trial.should_stop

    @property
    def ended(self) -> TrialView | None:
        """The trial as the service has it after its end."""
        return self._trial.ended

    async def report(self, step: int, *args: Any, **scores: Any) -> Decision:
        """Report an evaluation, as `ExternalTrial.report` does."""
        return await asyncio.to_thread(self._trial.report, step, *args, **scores)

    async def complete(self, *args: Any, **scores: Any) -> TrialView | None:
        """End the trial as complete, as `ExternalTrial.complete` does."""
        return await asyncio.to_thread(self._trial.complete, *args, **scores)

    async def prune(self) -> TrialView | None:
        """End the trial as pruned."""
        return await asyncio.to_thread(self._trial.prune)

    async def fail(self, message: str, **reason: Any) -> TrialView | None:
        """End the trial as failed."""
        return await asyncio.to_thread(self._trial.fail, message, **reason)

    async def release(self) -> TrialView | None:
        """Give the trial back."""
        return await asyncio.to_thread(self._trial.release)

    async def __aenter__(self) -> Self:
        """Renew the lease in the background from now on."""
        self._trial.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool:
        """Tell the end, unless it was told before."""
        return await asyncio.to_thread(self._trial.__exit__, kind, error, tb)
