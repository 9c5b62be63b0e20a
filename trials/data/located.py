"""Where a source of data is: a file, a folder or a data set of the hub, by the text of a spec.

`sources` reads what `locate` finds. The first look at a spec's paths asks it before what reads them is loaded, so it
imports no library.
"""

from dataclasses import dataclass
from pathlib import Path

from luthier.studies.uploads import PREFIX
from luthier.trials.errors import BadData
from luthier.trials.paths import local_path


@dataclass(frozen=True)
class LocalFile:
    """A file on this worker.

    Attributes:
        text: The source as the spec names it.
        path: The spec's path, such as ("dataset", "source").
        file: The resolved path.
    """

    text: str
    path: tuple[str, ...]
    file: Path


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this worker; the attributes are those of `LocalFile`, with the resolved path of the folder."""

    text: str
    path: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class HubDataset:
    """A data set of the hub, or a text that is no local path and no URL; `text` is its id."""

    text: str
    path: tuple[str, ...]


Located = LocalFile | LocalFolder | HubDataset


def locate(text: str, *path: str) -> Located:
    """Find out where a source is.

    Args:
        text: A local path or a hub id, as the user wrote it.
        path: The spec's path of the text, for error messages.

    Raises:
        BadData: The text is a URL, or a path that lies outside the data roots or does not exist.
    """
    local = local_path(text, *path)
    if local is None:
        return HubDataset(text, path)
    if not local.is_dir() and not local.is_file():  # reading it may never end
        raise BadData(f"{text} is neither a file nor a folder, but a pipe, a socket or a device; give a file.", *path)
    if text.startswith(PREFIX) and local.is_file() and not text.endswith(f"/{local.name}"):
        text = f"{text}/{local.name}"  # its ending says how it is read
    return LocalFolder(text, path, local) if local.is_dir() else LocalFile(text, path, local)
