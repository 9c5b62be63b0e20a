"""A model's archive, unpacked into a directory that appears whole or not at all."""

import tarfile
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import BinaryIO


class DownloadError(Exception):
    """The downloaded model is damaged, or its archive holds what no model does."""


def check_vacant(folder: Path) -> None:
    """Raise FileExistsError unless `folder` can become a model's directory: absent, or empty."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists and is not an empty directory; name another, or remove it first.")


def unpack(archive: BinaryIO, folder: Path) -> None:
    """Unpack a .tar.gz of regular files into the new `folder`. Raises DownloadError, having written nothing outside.

    tarfile's own `data` filter came with Python 3.11.4; Debian 12 has 3.11.2. A model needs only files.
    """
    folder.mkdir()
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                    raise DownloadError(f"The model's archive is unsafe: {member.name!r} lies outside of it.")
                if member.isdir():
                    (folder / path).mkdir(parents=True, exist_ok=True)
                    continue
                source = tar.extractfile(member) if member.isreg() else None
                if source is None:
                    raise DownloadError(f"The model's archive is unsafe: {member.name!r} is not a regular file.")
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with source, (folder / path).open("xb") as target:
                    copyfileobj(source, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"The model's archive cannot be unpacked: {error}.") from error
