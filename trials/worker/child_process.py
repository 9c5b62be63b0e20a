"""The worker's handle on its child: the warm process that fine-tunes, in a session of its own.

The child is ended as a whole process group, so that nothing it started outlives it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from luthier.studies.protocol import SECRET_SETTINGS
from luthier.studies.text import one_line
from luthier.trials.child.messages import LINE_BYTES, End, FromChild, Ready, ToChild, Unfit, encode, from_child
from luthier.trials.errors import CannotWork, ChildDied

COMMAND = (sys.executable, "-m", "luthier.trials.child")


class Child:
    """A running child. `start` makes one; `receive` gives its messages in order."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._killed = False
        self.ready = False
        self.idle_bytes: int | None = None  # resident after its first assignment

    @classmethod
    async def start(cls, command: Sequence[str] = COMMAND, environment: Mapping[str, str] | None = None) -> "Child":
        """Run `command FD` with `environment` on top of this process's own. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            env = {key: value for key, value in os.environ.items() if key not in SECRET_SETTINGS}
            process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # what it prints is for the log, and never for the protocol
                stderr=sys.stderr.fileno(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=env | dict(environment or {}),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        return cls(process, reader, writer)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._reader.at_eof()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToChild) -> None:
        """Hand over a message; a child that is gone is noticed by `receive`."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def receive(self) -> FromChild:
        """The next message. Raises ChildDied, after which the child is gone."""
        try:
            line = await self._reader.readline()
            if line.endswith(b"\n"):
                return from_child(line)
            problem = None
        except (OSError, ValueError) as error:  # ValueError: a line too long, or no message
            problem = f"it sent what the worker cannot read ({one_line(error, 200)})"
        if problem is None:
            with contextlib.suppress(TimeoutError):  # its socket is closed: it is about to end by itself
                await asyncio.wait_for(self._process.wait(), 2)
        code = self._process.returncode
        await self.kill()
        raise ChildDied(problem or _ending(code))

    async def wait_ready(self) -> None:
        """Return once its libraries are imported. Raises ChildDied, CannotWork."""
        while not self.ready:
            message = await self.receive()
            if isinstance(message, Unfit):
                await self.kill()
                raise CannotWork(message.problem)
            self.ready = isinstance(message, Ready)

    async def settle(self, id: int, seconds: float) -> None:
        """Give the child `seconds` to end assignment `id` by itself, then kill it."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self.receive()
                    if isinstance(message, End) and message.outcome.id == id and not message.replace:
                        return
                    if isinstance(message, End):
                        break
        except (TimeoutError, ChildDied):
            pass
        await self.kill()

    async def kill(self) -> None:
        """End the child and all it started, at once."""
        self.kill_now()
        await self._process.wait()
        self._writer.close()

    def kill_now(self) -> None:
        """`kill` without waiting for the end: for a worker that is about to exit."""
        if not self._killed:  # once only: a process group's number may be given to another later
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _ending(code: int | None) -> str:
    """How a process ended, for people."""
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
