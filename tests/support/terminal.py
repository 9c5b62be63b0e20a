"""A terminal for a command: what it prints there, with an answer typed, or Ctrl-C pressed, at a given word."""

import os
import pty
import subprocess
from pathlib import Path

from tests.support.command_line import COMMAND, without_luthier

CTRL_C = b"\x03"
OWN_TERMINAL = ["env", "--default-signal=INT", "setsid", "--ctty", "--wait"]  # so that Ctrl-C is a signal, and is heard


def on_terminal(
    *arguments: object, folder: Path, at: str = "", types: bytes = b"", **environment: str
) -> tuple[int, str]:
    """Run `luthier ARGUMENTS` on a terminal of its own, of 60 columns; return its exit code and what it showed.

    Args:
        arguments: of the command.
        folder: its working directory.
        at: the words on the screen at which `types` is typed, once.
        types: what is typed.
        environment: more variables.
    """
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "60", "LINES": "40", "TERM": "xterm"}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*OWN_TERMINAL, *COMMAND, *map(str, arguments)],
        cwd=folder,
        env=without_luthier() | settings | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    while piece := _read(master):
        shown += piece
        if types and at.encode() in shown:
            os.write(master, types)
            types = b""
    os.close(master)
    return process.wait(60), shown.decode("utf-8", "replace")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the last process has closed the terminal
        return b""
