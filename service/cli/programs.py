"""Programs of the trials that a command starts: the service imports none of their code, which is slow to load, too."""

import os
import subprocess
import sys


def run_program(
    module: str, text: str, roots: str, most_seconds: float | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program that reads a text on stdin and answers in JSON.

    Args:
        module: Below `luthier.trials.data`.
        text: For its stdin; a path may hold bytes that are no UTF-8.
        roots: The folders that it may read from, as LUTHIER_DATA_ROOTS.
        most_seconds: It is ended then; None for as long as it takes.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took too long.
    """
    return subprocess.run(  # noqa: S603 - this very interpreter and our own module
        [sys.executable, "-P", "-m", f"luthier.trials.data.{module}"],
        input=text.encode("utf-8", "surrogateescape"),
        env=os.environ | {"LUTHIER_DATA_ROOTS": roots},
        capture_output=True,
        timeout=most_seconds,
        check=False,
    )
