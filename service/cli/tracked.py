"""Trackers told beside `luthier run`, each by a process of its own, which can neither end the run nor hold it up."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from luthier.service.cli.connect import USAGE, CommandError, tell

GRACE_SECONDS = 120.0  # for trackers to take the rest, once the study has ended
END_SECONDS = 10.0  # for one to let go


def check_trackers(kinds: Sequence[str]) -> None:
    """Raise CommandError for an unknown tracker, or one whose library is not installed."""
    from luthier.service.trackers.kinds import Unavailable, check

    for kind in kinds:
        try:
            check(kind)
        except Unavailable as error:
            raise CommandError(USAGE, str(error)) from None


class Tracked:
    """The processes that tell trackers of a study; a context manager that waits for them, or ends them on an error."""

    def __init__(self, kinds: Sequence[str], url: str, token: str | None, project: str | None = None) -> None:
        """Start nothing yet.

        Args:
            kinds: the trackers.
            url: the service.
            token: the service's token.
            project: of the study; None: the token's own.
        """
        self._kinds = list(dict.fromkeys(kinds))
        named = {"LUTHIER_SERVER": url, "LUTHIER_TOKEN": token or "", "LUTHIER_PROJECT": project or ""}
        self._environment = os.environ | named
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Return the same."""
        return self

    def start(self, study: str) -> None:
        """Start the processes for a study that exists."""
        module = [sys.executable, "-P", "-W", "ignore", "-m", "luthier.service.trackers"]
        for kind in self._kinds:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter and our own module
                [*module, study, kind],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if os.environ.get("LUTHIER_DEBUG") else subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the run, which ends them
            )
            self._processes[kind] = process
            reader = threading.Thread(target=_pass_on, args=(process,), name=f"tracker-{kind}", daemon=True)
            reader.start()
            self._readers.append(reader)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait until all is told, GRACE_SECONDS at most; after an error end the processes at once."""
        deadline = time.monotonic() + (GRACE_SECONDS if kind is None else 0.0)
        try:
            for name, process in self._processes.items():
                if not _has_ended(process, deadline) and kind is None:
                    tell(f"{name} did not take all of the study in {GRACE_SECONDS:g} s, and was left.")
                elif kind is None and (process.returncode or 0) < 0:
                    tell(f"{name} was not told all of the study: its process was killed.")
        finally:  # also on Ctrl-C while they are waited for
            for process in self._processes.values():
                _end(process)
        for reader in self._readers:
            reader.join(END_SECONDS)


def _pass_on(process: "subprocess.Popen[str]") -> None:
    """Print the sentences of a process."""
    if process.stdout is not None:
        with process.stdout as lines:
            for line in lines:
                tell(line.rstrip("\n"))


def _has_ended(process: "subprocess.Popen[str]", deadline: float) -> bool:
    """Wait for a process until a time of the monotonic clock; return whether it has ended."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process that still runs: orderly, and after END_SECONDS at once."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
