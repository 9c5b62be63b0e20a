"""Connections that cannot be accepted, as the process has no file descriptor left: one line a minute tells of them.

Python's event loop logs a traceback for each try, thousands of them in a second (CPython 3.11, `_accept_connection`).
"""

import asyncio
import errno
import logging
import resource
import time
from typing import Any

log = logging.getLogger("luthier")

TOLD_SECONDS = 60.0  # between two lines about it
NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # those after which the loop tries again


class AcceptErrors:
    """The handler of an event loop's errors; all but those that it is about go to the loop's own."""

    def __init__(self) -> None:
        """Begin without any that was told."""
        self._told = -TOLD_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take an error of the loop."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in NONE_LEFT and "socket" in context):
            loop.default_exception_handler(context)
            return
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            text = (
                f"No connection can be accepted now: {error.strerror}. Clients wait. This process may have {most} files"
            )
            log.error("%s open; `ulimit -n` where it starts (systemd: LimitNOFILE=) sets that.", text)
