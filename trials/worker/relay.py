"""The relay of an assignment between the child and the service, until the service has its outcome.

The worker's loop makes an `AssignmentRelay` for each assignment. Three tasks share it, and none waits for another, so a
service that is away stops no training: the first supervises the child and turns its end into an outcome; the second
delivers the reports and then the outcome, in order; the third renews the lease. No lease token reaches the child.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from luthier.studies.protocol import (
    TRAINING,
    Answer,
    Assignment,
    DataProblem,
    Decision,
    Outcome,
    Reason,
    Renewal,
    Report,
)
from luthier.trials.child.messages import Decided, End, Evaluated, Held, Logged, Result, Start
from luthier.trials.errors import ChildDied, DamagedFile, OutOfMemory
from luthier.trials.worker.assignment_files import AssignmentFileError, AssignmentFolder, DiskFull
from luthier.trials.worker.child_process import Child
from luthier.trials.worker.client import LeaseLost, ProtocolError, Rejected, WorkerClient
from luthier.trials.worker.dataset_copies import COPIES, DatasetCopies
from luthier.trials.worker.lease_messages import LeaseMessages, failed
from luthier.trials.worker.time_limit import TimeLimit
from luthier.trials.worker.written_bytes import WrittenBytes

log = logging.getLogger(__name__)

CANCEL_SECONDS = 3.0  # a child whose assignment is cancelled or over may take so long to end it; then it is killed
LOG_CHARACTERS = 500_000  # kept while the service is away, and sent in one message at most
FILES_LOOK_SECONDS = 1.0  # between looks at how much a trial has written, where that is limited
RENEWALS_PER_LEASE = 3
RECEIPT_SECONDS = 1.0  # that a start waits until the service knows of the receipt; while it is away nobody waits longer

Sent = TypeVar("Sent", Report, Renewal, Outcome)
Received = TypeVar("Received")


class Dropped(Exception):
    """The service wants no outcome: it has given the assignment to another worker, or has ended it."""


class AssignmentRelay:
    """Relays one assignment to its outcome. After `run`, `end` holds the child's last message about it.

    `gave_back` is True where this worker's disk has no room for it.

    Args:
        assignment: The assignment, with its lease token.
        client: The connection to the service.
        temporary: The folder for the assignment's files where the service's store is on another machine.
    """

    def __init__(self, assignment: Assignment, client: WorkerClient, temporary: Path) -> None:
        self.assignment = assignment
        self.end: End | None = None
        self.gave_back = False
        self._client = client
        self._child: Child | None = None
        self._files = AssignmentFolder(assignment, client, temporary)
        self._datasets = DatasetCopies(client, temporary.parent / COPIES)
        self._time = TimeLimit(assignment)
        self._messages = LeaseMessages(assignment, self._time)
        self._micro_batch = assignment.micro_batch  # the most examples that went through the model together
        self._too_much: str | None = None  # why the child was killed: it has written too much
        self._lease_seconds = assignment.lease_seconds
        self._pending: deque[Report | Outcome] = deque()  # not yet acknowledged, in order; an outcome is the last
        self._more = asyncio.Event()
        self._receipt = asyncio.Event()  # the service knows that the assignment arrived here
        self._sending = asyncio.Lock()  # one message at a time, so that log lines stay in order and none is lost
        self._log = ""

    async def run(self, child: Child) -> None:
        """Have `child` do the assignment; return when the service has the outcome.

        When this is cancelled, `release` may follow; `close` must.

        Raises:
            Dropped: The service wants no outcome.
            ChildDied: The child could not start.
            WorkerRefused: The service refuses this worker.
        """
        self._child = child
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._supervise(child))
                renewing = group.create_task(self._renew())
                await self._deliver()
                renewing.cancel()
        except ExceptionGroup as group:
            first = group.exceptions[0]
            raise Dropped(str(first)) if isinstance(first, LeaseLost) else first from None

    async def release(self, seconds: float) -> bool:
        """Give the assignment back to the service.

        Reports that are not yet delivered go first; when they take more than half of `seconds`, they are left out.

        Returns:
            True if the service took it back within `seconds`.
        """
        self._enqueue(self._messages.outcome(Result(status="released")))
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
        """Remove the files that only this worker needed."""
        self._files.close()
        self._datasets.close()

    async def _supervise(self, child: Child) -> None:
        watching: asyncio.Task[None] | None = None
        try:
            assignment = await self._files.open(self._add_log)
            folders = await self._datasets.open(assignment, self._files.shared, self._add_log)
            await child.wait_ready()
            with contextlib.suppress(TimeoutError):  # a trial that brings the machine down must count as lost
                await asyncio.wait_for(self._receipt.wait(), RECEIPT_SECONDS)
            if self._time.is_used_up:
                self._enqueue(self._messages.outcome(self._out_of_time()))
                return
            watching = asyncio.create_task(self._watch_files(child))
            child.send(Start(assignment=assignment, folder=str(self._files.folder), datasets=folders))
            self._time.start()
            async with asyncio.timeout_at(self._time.deadline()) as deadline:
                result = await self._receive(child, deadline)
            self.gave_back = result.status == "released"
        except DiskFull as error:
            self.gave_back = True
            result = Result(status="released", problem=DataProblem(message=str(error)))
        except DamagedFile as damage:
            result = failed(Reason.DAMAGED, str(damage))
        except AssignmentFileError as error:
            result = failed(Reason.ERROR, str(error))
        except TimeoutError:
            result = await self._end_in_time(child)
        except ChildDied as death:
            if not child.ready:
                raise
            result = self._of_death(death)
        finally:
            if watching is not None:
                watching.cancel()
        self._enqueue(self._messages.outcome(result))

    async def _end_in_time(self, child: Child) -> Result:
        """Have the child end a trial whose time is over, and kill it if it does not; return the trial's result.

        The service keeps the best score of a trial that has one.
        """
        child.send(Decided(id=self.assignment.id, decision=Decision.STOP))
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                result = await self._receive(child)
            if result.reason is not Reason.BUDGET:  # it has just ended in another way
                return result
        except TimeoutError:
            await child.kill()
        except ChildDied:
            pass
        return self._out_of_time()

    def _out_of_time(self) -> Result:
        return failed(Reason.TIMEOUT, f"The trial ran longer than budget.trial_seconds ({self._time.seconds:g} s).")

    def _of_death(self, death: ChildDied) -> Result:
        """Return the result of a trial whose child has died."""
        if self._too_much is not None:
            return failed(Reason.DISK, self._too_much)
        if not isinstance(death, OutOfMemory):
            return Result(status="lost", problem=DataProblem(message=f"The process that trained died: {death}."))
        smaller = self._smaller_micro_batch()
        was_warm = self._child is not None and self._child.idle_bytes is not None
        if smaller is None and was_warm and self.assignment.attempt == 1:
            text = f"{death} The process kept models and data of earlier work; the next one begins without."
            self._add_log(text)
            return Result(status="released", problem=DataProblem(message=text))
        if smaller is None:
            return failed(Reason.OOM, str(death))
        text = f"{death} The trial is given back, to go on with {smaller} examples together."
        self._add_log(text)
        return Result(status="released", micro_batch=smaller, problem=DataProblem(message=text))

    def _smaller_micro_batch(self) -> int | None:
        """Return half of the examples that went through the model together; None where that was one, or no training."""
        batch_size = self.assignment.params.get("batch_size")
        if self.assignment.kind not in TRAINING or not isinstance(batch_size, int):
            return None
        return min(self._micro_batch or batch_size, batch_size) // 2 or None

    async def _watch_files(self, child: Child) -> None:
        """Kill the child once its files take more than they may."""
        folders = [self._files.folder, *filter(None, (child.temporary,))]
        written = await asyncio.to_thread(WrittenBytes, folders, child.limits.disk)
        while written.limit is not None:
            await asyncio.sleep(FILES_LOOK_SECONDS)
            self._too_much = await asyncio.to_thread(written.problem)
            if self._too_much is not None:
                await child.kill()
                return

    async def _receive(self, child: Child, deadline: asyncio.Timeout | None = None) -> Result:
        """Take the child's messages until the last one, and return its result. Raises ChildDied.

        The time for which the child waits for its disk moves the deadline.
        """
        while True:
            message = await child.receive()
            if isinstance(message, Logged):
                self._add_log(message.text)
            elif isinstance(message, Evaluated):
                self._micro_batch = message.micro_batch or self._micro_batch
                self._enqueue(self._messages.report(message))
            elif isinstance(message, Held):
                self._time.hold(message.seconds)
                if deadline is not None:
                    deadline.reschedule(self._time.deadline())
            elif isinstance(message, End):
                self.end = message
                return message.result

    def _add_log(self, text: str) -> None:
        self._log = (self._log + text.rstrip("\n") + "\n")[-LOG_CHARACTERS:]

    def _enqueue(self, message: Report | Outcome) -> None:
        self._pending.append(message)
        self._more.set()

    async def _deliver(self) -> None:
        """Send the pending messages in order, until the outcome is sent. Raises Dropped, ProtocolError."""
        while True:
            while not self._pending:
                self._more.clear()
                await self._more.wait()
            message = self._pending[0]
            try:
                if isinstance(message, Outcome):
                    await self._send_outcome(message)
                    return
                await self._send_report(message)
                self._pending.popleft()
            except (AssignmentFileError, Rejected) as error:
                if isinstance(message, Outcome) and message.status == "failed":
                    raise Dropped(f"{error} Its lease will expire.") from error
                if self._child is not None:
                    await self._child.kill()
                self._pending.clear()
                self._enqueue(self._messages.outcome(failed(Reason.ERROR, str(error))))

    async def _send_report(self, report: Report) -> None:
        await self._files.send((report.resume, report.best))
        # It started over: the step is recorded, and the log of such a report counts as repeated.
        if self._log and report.step <= self.assignment.checkpoint.step:
            self._apply(await self._send(self._client.renew, self._messages.renewal()), None)
        answer = await self._send(self._client.report, report)
        self._apply(answer, report.step)

    async def _send_outcome(self, outcome: Outcome) -> None:
        if outcome.evaluation is not None:
            await self._files.send((outcome.evaluation.model,))
        if outcome.comparison is not None:
            await self._files.send((outcome.comparison.predictions,))
        if outcome.prediction is not None:
            await self._files.send((outcome.prediction.file,))
        if outcome.onnx is not None:
            await self._files.send((outcome.onnx.file,))
        await self._send(self._client.finish, outcome)

    async def _renew(self) -> None:
        """Renew the lease, at once for the first time: without a message the service must think the claim got lost."""
        while True:
            self._apply(await self._send(self._client.renew, self._messages.renewal()), None)
            self._receipt.set()
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)

    def _apply(self, answer: Answer, step: int | None) -> None:
        """Take over the service's answer to the report of `step`, or to a renewal. Raises Dropped."""
        self._lease_seconds = answer.lease_seconds
        if answer.decision is Decision.CANCEL:
            raise Dropped("The service has cancelled it.")
        if self._child is not None and (step is not None or answer.decision is not Decision.CONTINUE):
            self._child.send(Decided(id=self.assignment.id, step=step, decision=answer.decision))

    async def _send(self, call: Callable[[Sent], Awaitable[Received]], message: Sent) -> Received:
        """Send a message with the log lines that no earlier message brought. Takes the sending lock."""
        async with self._sending:
            text, self._log = self._log, ""
            try:
                return await call(message.model_copy(update={"log": text}))
            except BaseException:  # cancelled: another message brings them
                self._log = (text + self._log)[-LOG_CHARACTERS:]
                raise
