"""The command line as a user runs it, in a process of its own, and a spec for it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# As the installed script does it: without the working directory on the path.
COMMAND = [sys.executable, "-P", "-c", "from luthier.service.cli import main; main()"]
Luthier = Callable[..., "subprocess.CompletedProcess[str]"]

SPEC = """
name: {name}
task: text-classification
model: models/none
dataset: {{source: data/none.csv}}
space: {{learning_rate: {{low: 1e-5, high: 1e-3, log: true}}, batch_size: [8, 16]}}
budget: {{trials: 3}}
"""


def without_luthier() -> dict[str, str]:
    """Return the caller's environment without any variable that Luthier reads."""
    return {key: value for key, value in os.environ.items() if not key.startswith("LUTHIER_")}


def command_in(folder: Path) -> Luthier:
    """Return a function that runs `luthier ARGUMENTS` in a folder and returns the ended process."""

    def run(*arguments: object, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            cwd=folder,
            env=without_luthier() | settings | environment,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run
