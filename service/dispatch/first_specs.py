"""First specs for uploaded data, written by a program of the workers' code: the service itself reads no data."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from luthier.service.dispatch.core import Core
from luthier.service.errors import Invalid, NotFound, Unavailable
from luthier.service.schemas import Fault
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.service_tables import DatasetRow
from luthier.studies.protocol import SECRET_SETTINGS
from luthier.studies.uploads import PREFIX, is_archive, stored_name

MOST_SECONDS = 60.0


@dataclass(frozen=True)
class FirstSpec:
    """A first spec: its task, role -> column, and its text, YAML with comments."""

    task: str
    columns: dict[str, str]
    text: str


def first_spec(core: Core, row: DatasetRow, task: str | None, columns: dict[str, str], preset: str) -> FirstSpec:
    """Write a first spec for a data set.

    Args:
        core: the service.
        row: the data set.
        task: its name; None for a guess.
        columns: role -> column; with a guess of the task they are guessed, too.
        preset: that the spec names.

    Raises:
        Invalid: the data cannot be read, or tells no task.
        NotFound: its files are gone.
        Unavailable: it took too long, or the workers' code is not installed here.
    """
    folder = DatasetStore(core.store.root).files(row.digest)
    if not folder.is_dir():
        raise NotFound(f"The files of the data set {row.digest} are gone from the service's store; upload it again.")
    source = str(folder if is_archive(row.kind) else folder / stored_name(row.kind))
    shown = f"{PREFIX}{row.digest}"
    wish = {"source": source, "shown": shown, "title": row.name, "task": task, "columns": columns, "preset": preset}
    found = _asked(wish, str(folder))
    if "fault" in found:
        message = str(found["fault"]).replace(source, row.name)
        raise Invalid(message, [Fault(path="dataset.source", message=message)])
    return FirstSpec(str(found["task"]), dict(found["columns"]), str(found["spec"]))


def _asked(wish: dict[str, Any], folder: str) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key not in SECRET_SETTINGS}
    environment |= {"LUTHIER_DATA_ROOTS": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "luthier.trials.data.wished_spec"],
            env=environment,
            input=json.dumps(wish).encode(),
            capture_output=True,
            timeout=MOST_SECONDS,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        told = "No first spec could be made of it here: it is too large, or luthier[worker] is not installed beside "
        raise Unavailable(told + "the service. Write the spec by hand with its source.") from None
    return found
