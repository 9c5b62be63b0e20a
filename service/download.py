"""A model's archive, unpacked into a directory that appears whole or not at all."""

from pathlib import Path

from luthier.studies.archives import ArchiveError, unpack_archive


class DownloadError(Exception):
    """The downloaded model is damaged, or its archive holds what no model does."""


def check_vacant(folder: Path) -> None:
    """Raise FileExistsError unless `folder` can become a model's directory: absent, or empty."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists and is not an empty directory; name another, or remove it first.")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a model's .tar.gz into the new `folder`.

    Raises:
        DownloadError: the archive is damaged or unsafe, or the disk refuses its files. Nothing is written outside.
    """
    try:
        unpack_archive(archive, folder)
    except ArchiveError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise DownloadError(f"The model's archive cannot be unpacked: {error}.") from error
