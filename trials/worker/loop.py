"""The worker: claims assignments, has a warm child do them, and tells the service how they ended.

The parent process knows nothing of torch. It outlives its children: one that crashed, ran out of memory or does
not give memory back is replaced. A signal gives the running assignment back and leaves no process behind.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from luthier.studies.protocol import Assignment, Claim, Decision, Gpu
from luthier.trials.child.messages import Decided
from luthier.trials.errors import CannotWork, ChildDied
from luthier.trials.prefix import shared_files as prefix_files
from luthier.trials.worker.assignment_files import Temporary
from luthier.trials.worker.child_process import COMMAND, Child
from luthier.trials.worker.client import ProtocolError, WorkerClient
from luthier.trials.worker.relay import CANCEL_SECONDS, AssignmentRelay, Dropped

log = logging.getLogger(__name__)

CLAIM_SECONDS = 20.0  # one long poll
IDLE_SECONDS = 0.5  # between polls of a service that answers "nothing" at once
RELEASE_SECONDS = 5.0  # to give an assignment back on a signal
STARTS = 3  # a child that cannot start is tried so often in a row
SPARE_BYTES = 2 * 2**30  # on top of half as much again: what an idle child may grow by over its life

EXIT_OK, EXIT_REFUSED, EXIT_NO_CHILD, EXIT_SIGNAL = 0, 3, 4, 130


class CannotStart(Exception):
    """No child can be started here. The text is a sentence."""


class Worker:
    """One slot: does one assignment at a time for the service at `server`, until a signal.

    `environment` is added to the child's. `exit_on_eof`: end at once when standard input ends, because whoever
    started the worker has died.
    """

    def __init__(
        self,
        server: str,
        token: str | None,
        *,
        name: str,
        device: str = "cpu",
        gpu: Gpu | None = None,
        environment: Mapping[str, str] | None = None,
        exit_on_eof: bool = False,
        child_command: Sequence[str] = COMMAND,
        version: str = "",
    ) -> None:
        self._server, self._token = server, token
        self._claim = Claim(worker=name, wait_seconds=CLAIM_SECONDS, device=device, gpu=gpu, version=version)
        self._environment, self._command = dict(environment or {}), child_command
        self._exit_on_eof = exit_on_eof
        self._child: Child | None = None
        self._failed_starts = 0
        self._stopping = False

    async def run(self) -> int:
        """AssignmentRelay until SIGTERM or SIGINT; the process's exit code."""
        self._temporary = Temporary()
        self._client = WorkerClient(self._server, self._token)
        serving = asyncio.create_task(self._serve())
        self._listen_for_the_end(serving)
        try:
            await serving
        except asyncio.CancelledError:
            log.info("Stopped.")
        except ProtocolError as error:
            log.error("%s", error)
            return EXIT_REFUSED
        except CannotStart as error:
            log.error("%s", error)
            return EXIT_NO_CHILD
        finally:
            if self._child is not None:
                await self._child.kill()
            await self._client.close()
            self._temporary.remove()
            prefix_files.sweep()
        return EXIT_OK

    def _listen_for_the_end(self, serving: "asyncio.Task[None]") -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self._stopping:
                self._vanish(EXIT_SIGNAL)
            self._stopping = True
            serving.cancel()

        def watch_input() -> None:
            while os.read(sys.stdin.fileno(), 4096):
                pass
            loop.call_soon_threadsafe(self._vanish, EXIT_OK)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if self._exit_on_eof:
            threading.Thread(target=watch_input, daemon=True, name="stdin").start()

    def _vanish(self, code: int) -> None:
        """Exit at once, leaving no process and no file."""
        if self._child is not None:
            self._child.kill_now()
        self._temporary.remove()
        prefix_files.sweep(patience=1.0)
        os._exit(code)

    async def _serve(self) -> None:
        """Claim and work for ever. Raises ProtocolError, CannotStart."""
        while not self._stopping:
            asked = time.monotonic()
            try:
                assignment = await self._next(await self._living_child())
                if assignment is not None:
                    await self._carry(assignment)
                    continue
            except CannotWork as problem:
                raise CannotStart(str(problem)) from None
            except ChildDied as death:
                self._failed_starts += 1
                if self._failed_starts == STARTS:
                    text = f"The process that trains cannot start: {death}. What it printed says why."
                    raise CannotStart(text) from None
                continue
            if time.monotonic() - asked < IDLE_SECONDS:
                await asyncio.sleep(IDLE_SECONDS)

    async def _living_child(self) -> Child:
        """The warm child, or a new one where it is gone. Raises ChildDied when none can be started."""
        if self._child is None or not self._child.alive:
            if self._child is not None:
                await self._child.kill()
            self._child = await Child.start(self._command, self._environment)
        return self._child

    async def _next(self, child: Child) -> Assignment | None:
        """Claim while the child imports its libraries. Raises ChildDied when it dies over that."""
        claiming = asyncio.create_task(self._client.claim(self._claim))
        starting = asyncio.create_task(child.wait_ready())
        try:
            await asyncio.wait({claiming, starting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            return await claiming
        finally:
            claiming.cancel()
            starting.cancel()
            await asyncio.gather(claiming, starting, return_exceptions=True)

    async def _carry(self, assignment: Assignment) -> None:
        """Do one assignment, and leave a child that can do the next or none. Raises ChildDied when none can start."""
        number = "" if assignment.number is None else f" {assignment.number}"
        log.info("%s%s of %s, attempt %d.", assignment.kind, number, assignment.study, assignment.attempt)
        work = AssignmentRelay(assignment, self._client, self._temporary.folder)
        try:
            child = await self._living_child()
            await work.run(child)
        except Dropped as dropped:
            log.info("Dropped: %s", dropped)
            if work.end is None and child.alive:
                child.send(Decided(id=assignment.id, decision=Decision.CANCEL))
                await child.settle(assignment.id, CANCEL_SECONDS)
        except (ChildDied, asyncio.CancelledError):
            if self._child is not None:
                await self._child.kill()
            given_back = await work.release(RELEASE_SECONDS)
            log.info("Given back." if given_back else "Not given back: the service did not answer; its lease expires.")
            raise
        finally:
            work.close()
        self._failed_starts = 0
        if work.end is not None and (work.end.replace or self._has_grown(child, work.end.resident_bytes)):
            log.info("The child is replaced, to give its memory back.")
            await child.kill()

    @staticmethod
    def _has_grown(child: Child, resident_bytes: int | None) -> bool:
        """Whether the idle child holds far more memory than after its first assignment."""
        if resident_bytes is None:
            return False
        if child.idle_bytes is None:
            child.idle_bytes = resident_bytes
        return resident_bytes > 1.5 * child.idle_bytes + SPARE_BYTES
