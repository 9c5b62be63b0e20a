"""One assignment under way in a worker: relays between the child and the service until its outcome is delivered.

Three tasks share it. One attends to the child and turns whatever becomes of it into an outcome; one delivers
reports and then the outcome, in order, for as long as it takes; one renews the lease. None waits for another,
so a service that is away stops no training.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from luthier.studies.protocol import TRAINING, Answer, Assignment, Decision, Outcome, Problem, Reason, Renewal, Report
from luthier.trials.child.messages import Decided, End, Logged, Reported, Start
from luthier.trials.errors import ChildDied
from luthier.trials.worker.assignment_files import AssignmentFolder, StoreError
from luthier.trials.worker.child_process import Child
from luthier.trials.worker.client import LeaseLost, ProtocolError, Rejected, WorkerClient

log = logging.getLogger(__name__)

CANCEL_SECONDS = 3.0  # a cancelled child has so long to come to its senses, then it is killed
LOG_CHARACTERS = 500_000  # kept while the service is away, and sent in one message at most
RENEWALS_PER_LEASE = 3

Sent = TypeVar("Sent", Report, Renewal, Outcome)
Got = TypeVar("Got")


class Dropped(Exception):
    """The service wants no outcome: it has given the assignment away, or has ended it."""


class AssignmentRelay:
    """Carries `assignment` to its outcome. After `run`, `end` holds what the child said at its end."""

    def __init__(self, assignment: Assignment, client: WorkerClient, temporary: Path) -> None:
        self.assignment, self._client = assignment, client
        self._child: Child | None = None
        self._place = AssignmentFolder(assignment, client, temporary)
        self._started = time.monotonic()
        self._lease_seconds = assignment.lease_seconds
        self._pending: deque[Report | Outcome] = deque()  # not yet acknowledged, in order; an outcome is the last
        self._more = asyncio.Event()
        self._line = asyncio.Lock()  # one message at a time, so that log lines stay in order and none is lost
        self._log = ""
        self.end: End | None = None

    async def run(self, child: Child) -> None:
        """Have `child` do it; return once the outcome is delivered. When cancelled, `release` may follow; `close` must.

        Raises Dropped when the service wants no outcome, ChildDied when the child could not even start,
        client.WorkerRefused.
        """
        self._child = child
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._attend(child))
                renewing = group.create_task(self._renew())
                await self._deliver()
                renewing.cancel()
        except ExceptionGroup as group:
            first = group.exceptions[0]
            raise Dropped(str(first)) if isinstance(first, LeaseLost) else first from None

    async def release(self, seconds: float) -> bool:
        """Give the assignment back within `seconds`, after the reports that are still on their way, or, where those
        take more than half of it, without them. Tells whether the service took it."""
        self._put(self._outcome("released"))
        for _ in range(2):
            try:
                await asyncio.wait_for(self._deliver(), seconds / 2)
                return True
            except TimeoutError:
                self._pending = deque(message for message in self._pending if isinstance(message, Outcome))
            except (ProtocolError, Dropped):
                break
        return False

    def close(self) -> None:
        """Remove what was only needed here."""
        self._place.close()

    async def _attend(self, child: Child) -> None:
        limit = self.assignment.spec.budget.trial_seconds if self.assignment.kind in TRAINING else None
        try:
            await self._place.open()
            await child.wait_ready()
            child.send(Start(assignment=self.assignment, folder=str(self._place.folder)))
            async with asyncio.timeout(limit):
                outcome = await self._listen(child)
        except StoreError as error:
            outcome = self._outcome("failed", Reason.ERROR, str(error))
        except TimeoutError:
            await child.kill()
            text = f"The trial ran longer than budget.trial_seconds ({limit:g} s)."
            outcome = self._outcome("failed", Reason.TIMEOUT, text)
        except ChildDied as death:
            if not child.ready:
                raise
            outcome = self._outcome("lost", None, f"The process that trained died: {death}.")
        self._put(outcome)

    async def _listen(self, child: Child) -> Outcome:
        """Take what the child says until its outcome. Raises ChildDied."""
        while True:
            message = await child.receive()
            if isinstance(message, Logged):
                self._note(message.text)
            elif isinstance(message, Reported) and message.report.id == self.assignment.id:
                self._put(message.report.model_copy(update={"seconds": self._seconds()}))
            elif isinstance(message, End) and message.outcome.id == self.assignment.id:
                self.end = message
                return message.outcome.model_copy(update={"seconds": self._seconds()})

    async def _deliver(self) -> None:
        while True:
            while not self._pending:
                self._more.clear()
                await self._more.wait()
            message = self._pending[0]
            try:
                if isinstance(message, Outcome):
                    await self._finish(message)
                    return
                await self._report(message)
                self._pending.popleft()
            except (StoreError, Rejected) as error:
                if isinstance(message, Outcome) and message.status == "failed":
                    raise Dropped(f"{error} Its lease will expire.") from error
                if self._child is not None:
                    await self._child.kill()
                self._pending.clear()
                self._put(self._outcome("failed", Reason.ERROR, str(error)))

    async def _report(self, report: Report) -> None:
        await self._place.send((report.resume, report.best))
        answer = await self._send(self._client.report, report)
        self._obey(answer, report.step)

    async def _finish(self, outcome: Outcome) -> None:
        if outcome.evaluation is not None:
            await self._place.send((outcome.evaluation.model,))
        if outcome.comparison is not None:
            await self._place.send((outcome.comparison.predictions,))
        await self._send(self._client.finish, outcome)

    async def _renew(self) -> None:
        renewal = Renewal(id=self.assignment.id, token=self.assignment.token)
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
            self._obey(await self._send(self._client.renew, renewal), None)

    def _obey(self, answer: Answer, step: int | None) -> None:
        self._lease_seconds = answer.lease_seconds
        if answer.decision is Decision.CANCEL:
            raise Dropped("The service has cancelled it.")
        if self._child is not None and (step is not None or answer.decision is not Decision.CONTINUE):
            self._child.send(Decided(id=self.assignment.id, step=step, decision=answer.decision))

    async def _send(self, call: Callable[[Sent], Awaitable[Got]], message: Sent) -> Got:
        """Send a message with the log lines that no message has brought yet."""
        async with self._line:
            text, self._log = self._log, ""
            try:
                return await call(message.model_copy(update={"log": text}))
            except BaseException:  # cancelled: another message brings them
                self._log = (text + self._log)[-LOG_CHARACTERS:]
                raise

    def _note(self, text: str) -> None:
        """Add lines to the assignment's log, without its token."""
        text = text.replace(self.assignment.token, "***").rstrip("\n") + "\n"
        self._log = (self._log + text)[-LOG_CHARACTERS:]

    def _put(self, message: Report | Outcome) -> None:
        self._pending.append(message)
        self._more.set()

    def _outcome(self, status: Any, reason: Reason | None = None, text: str | None = None) -> Outcome:
        return Outcome(
            id=self.assignment.id,
            token=self.assignment.token,
            status=status,
            reason=reason,
            problem=Problem(message=text) if text else None,
            seconds=self._seconds(),
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._started
