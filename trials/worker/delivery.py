"""The delivery of an assignment's messages to the service: reports and the outcome in order, renewals beside them.

`relay.py` makes one for each assignment, and runs `deliver` and `renew` as tasks of their own. A service that is away
is waited for; the log lines of the meantime go with the next message.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from luthier.studies.protocol import Answer, Assignment, DataProblem, Decision, Outcome, Reason, Renewal, Report
from luthier.trials.child.messages import Decided, Result
from luthier.trials.worker.assignment_files import AssignmentFileError, AssignmentFolder
from luthier.trials.worker.child_process import Child
from luthier.trials.worker.client import Rejected, WorkerClient
from luthier.trials.worker.lease_messages import LeaseMessages, failed

LOG_CHARACTERS = 500_000  # kept while the service is away, and sent in one message at most
RENEWALS_PER_LEASE = 3

Sent = TypeVar("Sent", Report, Renewal, Outcome)
Received = TypeVar("Received")


class Dropped(Exception):
    """The service wants no outcome: it has given the assignment to another worker, or has ended it."""


class Delivery:
    """Delivers the messages of one assignment, and hands the service's decisions to its child.

    Attributes:
        child: The child that does the assignment; None before it has one.
        receipt: Set once the service knows that the assignment arrived here.

    Args:
        assignment: The assignment, with its lease token.
        client: The connection to the service.
        files: The assignment's files, which go before the messages that name them.
        messages: Puts the lease on each message.
    """

    def __init__(
        self, assignment: Assignment, client: WorkerClient, files: AssignmentFolder, messages: LeaseMessages
    ) -> None:
        self.child: Child | None = None
        self.receipt = asyncio.Event()
        self._assignment = assignment
        self._client = client
        self._files = files
        self._messages = messages
        self._lease_seconds = assignment.lease_seconds
        self._pending: deque[Report | Outcome] = deque()  # not yet acknowledged, in order; an outcome is the last
        self._more = asyncio.Event()
        self._sending = asyncio.Lock()  # one message at a time, so that log lines stay in order and none is lost
        self._log = ""

    def add_log(self, text: str) -> None:
        """Keep lines of a log for the next message."""
        self._log = (self._log + text.rstrip("\n") + "\n")[-LOG_CHARACTERS:]

    def enqueue(self, message: Report | Outcome) -> None:
        """Have a message sent after those before it; an outcome is the last."""
        self._pending.append(message)
        self._more.set()

    def leave_out_reports(self) -> None:
        """Drop the reports that are not yet delivered."""
        self._pending = deque(message for message in self._pending if isinstance(message, Outcome))

    async def deliver(self) -> None:
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
                if self.child is not None:
                    await self.child.kill()
                self._pending.clear()
                self.enqueue(self._messages.outcome(_without(message, str(error))))

    async def _send_report(self, report: Report) -> None:
        await self._files.send((report.resume, report.best))
        # It started over: the step is recorded, and the log of such a report counts as repeated.
        if self._log and report.step <= self._assignment.checkpoint.step:
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
        await self._files.send((outcome.resume,))
        await self._send(self._client.finish, outcome)

    async def renew(self) -> None:
        """Renew the lease, at once for the first time: without a message the service must think the claim got lost."""
        while True:
            self._apply(await self._send(self._client.renew, self._messages.renewal()), None)
            self.receipt.set()
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)

    def _apply(self, answer: Answer, step: int | None) -> None:
        """Take over the service's answer to the report of `step`, or to a renewal. Raises Dropped."""
        self._lease_seconds = answer.lease_seconds
        if answer.decision is Decision.CANCEL:
            raise Dropped("The service has cancelled it.")
        if self.child is not None and (step is not None or answer.decision is not Decision.CONTINUE):
            self.child.send(Decided(id=self._assignment.id, step=step, decision=answer.decision))

    async def _send(self, call: Callable[[Sent], Awaitable[Received]], message: Sent) -> Received:
        """Send a message with the log lines that no earlier message brought. Takes the sending lock."""
        async with self._sending:
            text, self._log = self._log, ""
            try:
                return await call(message.model_copy(update={"log": text}))
            except BaseException:  # cancelled: another message brings them
                self._log = (text + self._log)[-LOG_CHARACTERS:]
                raise


def _without(message: Report | Outcome, problem: str) -> Result:
    """Return the result of an assignment whose message the service does not take, for a reason that is a sentence.

    A trial that cannot bring the file that it would go on from does not pause: it is queued anew.
    """
    if isinstance(message, Outcome) and message.status == "paused":
        return Result(status="released", problem=DataProblem(message=problem))
    return failed(Reason.ERROR, problem)
