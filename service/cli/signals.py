"""Signals that end a command: at once while it starts, and with an orderly end from then on.

`serve`, `workers`, `run` and `plan` call it, in the main thread only. `luthier serve` ends by uvicorn's handlers while
it serves.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """Have SIGTERM and Ctrl-C end this process where it stands, until they are handled otherwise.

    This is for the time of a start, when nothing needs to be undone. Python's KeyboardInterrupt may be lost there, in a
    callback of an import; and the first process of a container has no default action that would end it.
    """
    for number in ENDING:
        before = signal.getsignal(number)
        if before is not signal.SIG_IGN:
            signal.signal(number, partial(_end, signal.SIG_DFL if before is signal.default_int_handler else before))


def _end(before: Any, number: int, frame: FrameType | None) -> None:
    """Die by the signal, as `before` handles it; by an exit code where the signal kills nobody."""
    signal.signal(number, before)
    signal.raise_signal(number)
    os._exit(128 + number)


@contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Have SIGTERM end this command as Ctrl-C does: workers give their trials back, and no process is left behind.

    A second SIGTERM changes nothing; a second Ctrl-C does not wait for the workers.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    interrupted = False
    try:
        yield
    except KeyboardInterrupt:
        interrupted = True  # the command ends, and its handlers stay until then
        raise
    finally:
        for number in () if interrupted else ENDING:
            signal.signal(number, before[number])
