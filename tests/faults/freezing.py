"""Processes that stand still, so that their files are those of one moment."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Let none of these processes run in the block; those that are gone already are passed over."""
    frozen_pids = list(pids)
    for pid in frozen_pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in frozen_pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
