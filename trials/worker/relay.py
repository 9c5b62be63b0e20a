"""The relay of an assignment between the child and the service, until the service has its outcome.

The worker's loop makes an `AssignmentRelay` for each assignment. Three tasks share it, and none waits for another, so a
service that is away stops no training: the first supervises the child and turns its end into an outcome; the others
are of `delivery.py`, and send messages and renew the lease. No lease token reaches the child.
"""

import asyncio
import contextlib
from pathlib import Path

from luthier.studies.protocol import TRAINING, Assignment, DataProblem, Decision, Reason
from luthier.trials.child.messages import Decided, End, Evaluated, Held, Logged, Result, Start
from luthier.trials.errors import ChildDied, DamagedFile, OutOfMemory
from luthier.trials.worker.assignment_files import AssignmentFileError, AssignmentFolder, DiskFull
from luthier.trials.worker.child_process import Child
from luthier.trials.worker.client import LeaseLost, ProtocolError, WorkerClient
from luthier.trials.worker.dataset_copies import COPIES, DatasetCopies
from luthier.trials.worker.delivery import Delivery, Dropped
from luthier.trials.worker.lease_messages import LeaseMessages, failed
from luthier.trials.worker.time_limit import TimeLimit
from luthier.trials.worker.written_bytes import WrittenBytes

CANCEL_SECONDS = 3.0  # a child whose assignment is cancelled or over may take so long to end it; then it is killed
FILES_LOOK_SECONDS = 1.0  # between looks at how much a trial has written, where that is limited
RECEIPT_SECONDS = 1.0  # that a start waits until the service knows of the receipt; while it is away nobody waits longer


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
        self._child: Child | None = None
        self._files = AssignmentFolder(assignment, client, temporary)
        self._datasets = DatasetCopies(client, temporary.parent / COPIES)
        self._time = TimeLimit(assignment)
        self._messages = LeaseMessages(assignment, self._time)
        self._delivery = Delivery(assignment, client, self._files, self._messages)
        self._micro_batch = assignment.micro_batch  # the most examples that went through the model together
        self._too_much: str | None = None  # why the child was killed: it has written too much

    async def run(self, child: Child) -> None:
        """Have `child` do the assignment; return when the service has the outcome.

        When this is cancelled, `release` may follow; `close` must.

        Raises:
            Dropped: The service wants no outcome.
            ChildDied: The child could not start.
            WorkerRefused: The service refuses this worker.
        """
        self._child = self._delivery.child = child
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._supervise(child))
                renewing = group.create_task(self._delivery.renew())
                await self._delivery.deliver()
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
        self._delivery.enqueue(self._messages.outcome(Result(status="released")))
        for _ in range(2):
            try:
                await asyncio.wait_for(self._delivery.deliver(), seconds / 2)
                return True
            except TimeoutError:
                self._delivery.leave_out_reports()
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
            assignment = await self._files.open(self._delivery.add_log)
            folders = await self._datasets.open(assignment, self._files.shared, self._delivery.add_log)
            await child.wait_ready()
            with contextlib.suppress(TimeoutError):  # a trial that brings the machine down must count as lost
                await asyncio.wait_for(self._delivery.receipt.wait(), RECEIPT_SECONDS)
            if self._time.is_used_up:
                self._delivery.enqueue(self._messages.outcome(self._out_of_time()))
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
        self._delivery.enqueue(self._messages.outcome(result))

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
            self._delivery.add_log(text)
            return Result(status="released", problem=DataProblem(message=text))
        if smaller is None:
            return failed(Reason.OOM, str(death))
        text = f"{death} The trial is given back, to go on with {smaller} examples together."
        self._delivery.add_log(text)
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
                self._delivery.add_log(message.text)
            elif isinstance(message, Evaluated):
                self._micro_batch = message.micro_batch or self._micro_batch
                self._delivery.enqueue(self._messages.report(message))
            elif isinstance(message, Held):
                self._time.hold(message.seconds)
                if deadline is not None:
                    deadline.reschedule(self._time.deadline())
            elif isinstance(message, End):
                self.end = message
                return message.result
