"""The worker's main loop: claims assignments and has a warm child process do them.

`python -m luthier.trials` runs it. It never imports torch. A child that crashed, ran out of memory or does not give
memory back is replaced. A signal gives the running assignment back to the service and leaves no process behind.
"""

import asyncio
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from luthier.studies.protocol import Assignment, Claim, Decision, Gpu
from luthier.studies.versions import EXIT_OTHER_VERSION, PROTOCOL
from luthier.trials.child.messages import Decided
from luthier.trials.errors import CannotWork, ChildDied
from luthier.trials.prefix.shared_files import cache_folder, sweep
from luthier.trials.worker.assignment_files import WorkerFolder
from luthier.trials.worker.child_limits import ChildLimits, WrongLimit
from luthier.trials.worker.child_process import COMMAND, Child
from luthier.trials.worker.client import OtherVersion, ProtocolError, WorkerClient
from luthier.trials.worker.delivery import Dropped
from luthier.trials.worker.memory_groups import sweep_groups
from luthier.trials.worker.relay import CANCEL_SECONDS, AssignmentRelay

log = logging.getLogger(__name__)

CLAIM_SECONDS = (15.0, 20.0)  # one long poll; each worker's own, so that many do not ask at the same moment for ever
IDLE_SECONDS = 0.5  # between polls of a service that answers "nothing" without waiting
FULL_SECONDS = 10.0  # before the next claim where this worker's disk had no room for the last assignment
RELEASE_SECONDS = 5.0  # to give an assignment back on a signal
STARTS = 3  # attempts to start a child, in a row
GROWTH_FACTOR = 1.5  # a child is replaced once its idle memory (RSS) exceeds its first idle memory times this,
GROWTH_BYTES = 2 * 2**30  # plus this

EXIT_OK, EXIT_REFUSED, EXIT_NO_CHILD, EXIT_SIGNAL = 0, 3, 4, 130


class CannotStart(Exception):
    """No child can be started on this machine. The text is a sentence with the cure."""


class Worker:
    """A worker process: does one assignment at a time for one service, until a signal.

    Args:
        server: The service's URL.
        token: The service's worker token, or None.
        name: The worker's name, unique for the service.
        device: The name of the device that the child computes on, for people.
        gpu: The GPU that the child computes on, if any; workers on one GPU share it.
        environment: Variables for the child, on top of this process's own.
        exit_on_eof: True to exit immediately when standard input ends, as the process that started this one has died.
        child_command: The command that starts a child.
        version: The installed version of Luthier, for people.
        host: The name of this machine.
        libraries: Library -> its installed version, for people.
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
        host: str = "",
        libraries: Mapping[str, str] | None = None,
    ) -> None:
        self._server = server
        self._token = token
        wait_seconds = random.uniform(*CLAIM_SECONDS)  # noqa: S311 - spreads many workers, guards nothing
        self._claim = Claim(
            worker=name,
            wait_seconds=wait_seconds,
            device=device,
            gpu=gpu,
            version=version,
            protocol=PROTOCOL,
            host=host[:200],
            libraries=dict(libraries or {}),
        )
        self._environment = dict(environment or {})
        self._command = child_command
        self._exit_on_eof = exit_on_eof
        self._child: Child | None = None
        self._failed_starts = 0
        self._stopping = False

    async def run(self) -> int:
        """Work until SIGTERM or SIGINT, and return the process's exit code."""
        try:
            self._limits = ChildLimits.of(os.environ, has_gpu=self._claim.gpu is not None)
            self._client = WorkerClient(self._server, self._token)
        except WrongLimit as error:
            log.error("%s", error)
            return EXIT_NO_CHILD
        except ProtocolError as error:
            log.error("%s", error)
            return EXIT_REFUSED
        sweep_groups()
        self._folder = WorkerFolder()
        serving = asyncio.create_task(self._serve())
        self._watch_signals(serving)
        try:
            await serving
        except asyncio.CancelledError:
            log.info("Stopped.")
        except OtherVersion as error:
            log.error("%s", error)
            return EXIT_OTHER_VERSION
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
            self._folder.remove()
            sweep()
        return EXIT_OK

    def _watch_signals(self, serving: "asyncio.Task[None]") -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self._stopping:
                self._exit_now(EXIT_SIGNAL)
            self._stopping = True
            serving.cancel()

        def watch_input() -> None:
            while os.read(sys.stdin.fileno(), 4096):
                pass
            loop.call_soon_threadsafe(self._exit_now, EXIT_OK)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if self._exit_on_eof:
            threading.Thread(target=watch_input, daemon=True, name="stdin").start()

    def _exit_now(self, code: int) -> None:
        """Exit immediately; no process and no temporary file is left."""
        if self._child is not None:
            self._child.kill_now()
            self._child.close_now()
        self._folder.remove()
        sweep(patience=1.0)
        os._exit(code)

    async def _serve(self) -> None:
        """Claim and do assignments until a signal. Raises ProtocolError, CannotStart."""
        while not self._stopping:
            asked = time.monotonic()
            try:
                assignment = await self._claim_assignment(await self._ensure_child())
                if assignment is not None:
                    await self._do(assignment)
                    continue
            except CannotWork as problem:
                raise CannotStart(str(problem)) from None
            except ChildDied as death:
                self._failed_starts += 1
                if self._failed_starts == STARTS:
                    text = f"The process that trains cannot start: {str(death).rstrip('.')}. What it printed says why."
                    raise CannotStart(text) from None
                continue
            if time.monotonic() - asked < IDLE_SECONDS:
                await asyncio.sleep(IDLE_SECONDS)

    async def _ensure_child(self) -> Child:
        """Return the warm child, or start a new one if it has ended. Raises OSError."""
        if self._child is None or not self._child.alive:
            if self._child is not None:
                await self._child.kill()
            self._child = await self._start_child()
        return self._child

    async def _start_child(self) -> Child:
        """Start a child under its limits, with a folder of its own for temporary files where those are limited."""
        if self._limits.disk is None:
            return await Child.start(self._command, self._environment, self._limits)
        temporary = self._folder.new_temporary()
        own = {"TMPDIR": str(temporary), "LUTHIER_CACHE_DIR": str(cache_folder())}
        child = await Child.start(self._command, self._environment | own, self._limits)
        child.temporary = temporary
        return child

    async def _claim_assignment(self, child: Child) -> Assignment | None:
        """Claim an assignment while the child imports its libraries. Raises ChildDied, CannotWork, ProtocolError."""
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

    async def _do(self, assignment: Assignment) -> None:
        """Do one assignment. Afterwards the child can do the next one, or has been killed. Raises ChildDied."""
        number = "" if assignment.number is None else f" {assignment.number}"
        log.info("%s%s of %s, attempt %d.", assignment.kind, number, assignment.study, assignment.attempt)
        relay = AssignmentRelay(assignment, self._client, self._folder.path)
        try:
            child = await self._ensure_child()
            await relay.run(child)
        except Dropped as dropped:
            log.info("Dropped: %s", dropped)
            if relay.end is None and child.alive:
                child.send(Decided(id=assignment.id, decision=Decision.CANCEL))
                await child.wait_end(CANCEL_SECONDS)
        except (ChildDied, asyncio.CancelledError):
            if self._child is not None:
                await self._child.kill()
            given_back = await relay.release(RELEASE_SECONDS)
            log.info("Given back." if given_back else "Not given back: the service did not answer; its lease expires.")
            raise
        finally:
            relay.close()
        self._failed_starts = 0
        if relay.end is not None and (relay.end.replace or self._has_grown(child, relay.end.resident_bytes)):
            log.info("The child is replaced, to give its memory back.")
            await child.kill()
        if relay.gave_back:
            log.warning("Given back, as this worker's disk is full; the next claim is in %g s.", FULL_SECONDS)
            await asyncio.sleep(FULL_SECONDS)

    @staticmethod
    def _has_grown(child: Child, resident_bytes: int | None) -> bool:
        """Return whether the idle child holds far more memory than after its first assignment."""
        if resident_bytes is None:
            return False
        if child.idle_bytes is None:
            child.idle_bytes = resident_bytes
        return resident_bytes > GROWTH_FACTOR * child.idle_bytes + GROWTH_BYTES
