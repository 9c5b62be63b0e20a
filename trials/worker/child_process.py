"""The worker's handle on its child process: starts it, exchanges messages with it, and kills it.

The worker's loop and relay call it. The child runs in a process group of its own, which is killed as a whole, so that
nothing that it started outlives it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.studies.protocol import SECRET_VARIABLES
from luthier.studies.text import one_line
from luthier.trials.child.messages import LINE_BYTES, End, FromChild, Ready, ToChild, Unfit, encode, from_child
from luthier.trials.errors import CannotWork, ChildDied, OutOfMemory
from luthier.trials.worker.child_limits import ChildLimits, Confinement, held_bytes

LOOK_SECONDS = 0.2  # between looks at the memory of a child that nothing else bounds
UNLIMITED = ChildLimits()
COMMAND = (sys.executable, "-P", "-m", "luthier.trials.child")  # -P: files of the working directory are not imported


class Child:
    """A running child process. `start` starts one; `receive` returns its messages in order."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: ChildLimits,
        confinement: Confinement,
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._confinement = confinement
        self._killed = False
        self._watch = asyncio.create_task(self._watch_memory()) if limits.is_watched(confinement) else None
        self.limits = limits
        self.temporary: Path | None = None  # the folder of its temporary files, where what it writes is limited
        self.ready = False
        self.idle_bytes: int | None = None  # resident after its first assignment

    @classmethod
    async def start(
        cls,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
        limits: ChildLimits = UNLIMITED,
    ) -> "Child":
        """Start a child process, without waiting until it is ready.

        Args:
            command: The command; the number of the socket's file descriptor is appended.
            environment: Variables on top of this process's own, without those in `SECRET_VARIABLES`.
            limits: What it may take.

        Raises:
            OSError: The process cannot be started.
        """
        ours, theirs = socket.socketpair()
        try:
            env = {key: value for key, value in os.environ.items() if key not in SECRET_VARIABLES}
            process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # prints are for the log; messages have a socket of their own
                stderr=sys.stderr.fileno(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=env | dict(environment or {}),
            )
            confinement = limits.confine(process.pid)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        return cls(process, reader, writer, limits, confinement)

    @property
    def alive(self) -> bool:
        """True while the process runs and its socket is open."""
        return self._process.returncode is None and not self._reader.at_eof()

    @property
    def pid(self) -> int:
        """The process's id, which is also its group's."""
        return self._process.pid

    def send(self, message: ToChild) -> None:
        """Send a message. To a child that has ended nothing is sent, and the next `receive` raises."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def receive(self) -> FromChild:
        """Return the child's next message.

        Raises:
            OutOfMemory: The child has ended because it needed too much memory.
            ChildDied: The child has ended or sent something unreadable. It has been killed.
        """
        try:
            line = await self._reader.readline()
            if line.endswith(b"\n"):
                return from_child(line)
            problem = None
        except ConnectionError:  # it ended before it had read all that was sent to it
            problem = None
        except (OSError, ValueError) as error:  # ValueError: a line too long, or no message
            problem = f"it sent what the worker cannot read ({one_line(error, 200)})"
        if problem is None:
            with contextlib.suppress(TimeoutError):  # its socket is closed: it is about to end by itself
                await asyncio.wait_for(self._process.wait(), 2)
        code = self._process.returncode
        why = self._confinement.why_ended(code)
        await self.kill()
        if why is not None:
            raise OutOfMemory(why)
        raise ChildDied(problem or _ending(code))

    async def wait_ready(self) -> None:
        """Return when the child has imported its libraries.

        Raises:
            CannotWork: No child can work on this machine.
            ChildDied: The child has ended.
        """
        while not self.ready:
            message = await self.receive()
            if isinstance(message, Unfit):
                await self.kill()
                raise CannotWork(message.problem)
            self.ready = isinstance(message, Ready)

    async def wait_end(self, seconds: float) -> None:
        """Wait up to `seconds` for the child to end its assignment; kill it if it does not, or asks to be replaced."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self.receive()
                    if isinstance(message, End) and not message.replace:
                        return
                    if isinstance(message, End):
                        break
        except (TimeoutError, ChildDied):
            pass
        await self.kill()

    async def kill(self) -> None:
        """Kill the child and everything it started, and wait for its end."""
        self.kill_now()
        await self._process.wait()
        self._writer.close()
        await asyncio.to_thread(self._confinement.close)

    def kill_now(self) -> None:
        """Kill the child without waiting for its end: for a worker that is about to exit."""
        if self._watch is not None:
            self._watch.cancel()
        if not self._killed:  # once only: a process group's number may later belong to another
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close_now(self) -> None:
        """Remove what bounded the child, which was killed: for a worker that is about to exit."""
        self._confinement.close()

    async def _watch_memory(self) -> None:
        """Kill the child once it holds more memory than it may; where nothing else bounds it."""
        limit = self._confinement.limit
        while limit is not None and self._process.returncode is None:
            if await asyncio.to_thread(held_bytes, self._process.pid) > limit:
                self._confinement.was_seen_above = True
                self.kill_now()
                return
            await asyncio.sleep(LOOK_SECONDS)


def _ending(code: int | None) -> str:
    """Return how a process ended, as a clause for people."""
    if code is None:
        return "it closed its line to the worker"
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
    return f"it was ended by {name}{hint}"
