"""The first look of `luthier run` and `luthier plan` at paths and columns, a second instead of a worker's start.

Where a service on another machine is asked, it says what of the spec lies on this one only.

The code that reads data belongs to the workers, so it runs as a program of its own; whatever keeps it from running is
left to the worker to say.
"""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from luthier.service.cli.programs import run_program
from luthier.studies.host import is_loopback

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
        faults = json.loads(run_program("first_look", text, roots, MOST_SECONDS).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [f"{fault['path']}: {fault['message']}" for fault in faults]


def told_of_elsewhere(text: str, url: str) -> list[str]:
    """Return a sentence for each path of a spec that is here, where another machine's workers will look for it.

    Args:
        text: The spec; of a wrong one nothing is said, as the service refuses it with its faults.
        url: The service.
    """
    from luthier.studies.dataset import SplitFiles
    from luthier.studies.spec import parse_spec
    from luthier.studies.uploads import PREFIX

    if is_loopback(urlsplit(url).hostname or ""):
        return []
    try:
        spec = parse_spec(text)
    except ValueError:
        return []
    source = spec.dataset.source
    files = [*source.model_dump().values()] if isinstance(source, SplitFiles) else [source]
    here = [file for file in dict.fromkeys(files) if file and not file.startswith(PREFIX) and Path(file).exists()]
    there = f"the workers of {url} look for it on their own machines"
    upload = "`luthier dataset upload` brings a file or an archive to each of them"
    models = [model for model in spec.models if Path(model).exists()]
    return [f"dataset.source: {file} is on this machine, and {there}; {upload}." for file in here] + [
        f"model: {model} is on this machine, and {there}: put it there, too." for model in models
    ]
