"""Start a worker that joins a service from outside."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.command_line import COMMAND
from tests.support.served import Served


@contextlib.contextmanager
def external_worker(served: Served, folder: Path | None = None, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `luthier worker --server URL` inside the context, and end it with SIGTERM."""
    command = [*COMMAND, "worker", "--server"]
    process = subprocess.Popen([*command, str(served.client.base_url)], env=served.environment | more, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
