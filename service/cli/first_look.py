"""The first look of `luthier run` and `luthier plan` at paths and columns, a second instead of a worker's start.

The code that reads data belongs to the workers, so it runs as a program of its own; whatever keeps it from running is
left to the worker to say.
"""

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.service.settings import Settings

MOST_SECONDS = 20.0  # then a slow disk is left to the worker


def first_faults(text: str, settings: "Settings") -> list[str]:
    """Return a line for each path that does not exist here, or else for the columns that the spec's files lack.

    Args:
        text: The spec, valid.
        settings: Those of the service whose workers will run here.
    """
    roots = "/" if settings.data_roots is None else settings.data_roots
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "luthier.trials.data.first_look"],
            input=text.encode("utf-8", "replace"),
            env=os.environ | {"LUTHIER_DATA_ROOTS": roots},
            capture_output=True,
            timeout=MOST_SECONDS,
            check=True,
        )
        faults = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [f"{fault['path']}: {fault['message']}" for fault in faults]
