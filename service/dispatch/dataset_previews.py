"""Previews of data sets, made by a program of the workers' code: the service itself reads no data.

One is made at a time, within limits that the program sets to itself; a finished one stays beside its data set.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import ValidationError

from luthier.service.dispatch.core import Core
from luthier.service.errors import NotFound, Unavailable
from luthier.service.schemas import PreviewView
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.file_store import Place
from luthier.studies.files import atomic_path
from luthier.studies.protocol import SECRET_SETTINGS
from luthier.studies.uploads import store_folder

MOST_SECONDS = 90.0
MOST_BYTES = 8 * 2**20  # of a preview
NAME = "preview-1.json"  # the number counts the forms that a preview has had
_turn = threading.Lock()


def preview(core: Core, id: str) -> PreviewView:
    """Return the preview of a data set that is there.

    Raises:
        NotFound: Its files are gone.
        Unavailable: Others are being made, or it could not be made in time.
    """
    kept = _kept(core, id)
    if kept is not None:
        return kept
    if not _turn.acquire(timeout=MOST_SECONDS):
        raise Unavailable("Other previews are being made; try again shortly.", retry_after=10)
    try:
        return _kept(core, id) or _made(core, id)
    finally:
        _turn.release()


def _kept(core: Core, id: str) -> PreviewView | None:
    """Return the preview that was made before; None where there is none that can be read."""
    try:
        with core.store.open(Place(store_folder(id), NAME)) as file:
            return PreviewView.model_validate_json(file.read(MOST_BYTES))
    except (NotFound, OSError, ValidationError):
        return None


def _made(core: Core, id: str) -> PreviewView:
    folder = DatasetStore(core.store.root).files(id)
    if not folder.is_dir():
        raise NotFound(f"The files of the data set {id} are gone from the service's store; upload it again.")
    environment = {key: value for key, value in os.environ.items() if key not in SECRET_SETTINGS}
    # Threads of numerical libraries reserve memory of which the program allows itself little.
    environment |= {"LUTHIER_DATA_ROOTS": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "luthier.trials.data.preview"],
            env=environment,
            input=os.fsencode(folder),
            capture_output=True,
            timeout=MOST_SECONDS,
            check=True,
        )
        made = PreviewView.model_validate(json.loads(done.stdout[:MOST_BYTES]))
    except (subprocess.SubprocessError, ValueError):
        told = "It is too large or too odd for a preview; `luthier plan` has a worker read all of it, and says why."
        return PreviewView(splits=[], overlaps=[], problem=told)
    if made.problem is None:  # else a library may be installed meanwhile
        _keep(folder.parent / NAME, made)
    return made


def _keep(path: Path, made: PreviewView) -> None:
    """Write a preview beside its data set; a disk that refuses it costs the next reader a second."""
    try:
        with atomic_path(path, f".{NAME}.{os.getpid()}.part") as part:
            part.write_text(made.model_dump_json(), encoding="utf-8")
    except OSError:
        return
