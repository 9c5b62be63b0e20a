"""Download of a packed model: receive the archive, check its checksum, unpack it.

The caller gives a scratch folder beside the final one and renames at the end, so that a model appears whole or not at
all. Nothing here knows HTTP.
"""

from collections.abc import Iterable
from pathlib import Path

from luthier.errors import LuthierError
from luthier.studies.archives import ArchiveError, unpack_archive
from luthier.studies.damage import damage
from luthier.studies.files import HashingWriter


class DownloadError(LuthierError):
    """The downloaded model is damaged, or its archive holds something that no model needs."""


def check_vacant(folder: Path) -> None:
    """Raise FileExistsError unless `folder` can become a model's directory: absent, or empty."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} exists and is not an empty directory; name another, or remove it first.")


def receive(chunks: Iterable[bytes], archive: Path, sha256: str | None, source: str) -> None:
    """Write `chunks` to `archive`, and compare their checksum.

    Args:
        chunks: the archive's bytes.
        archive: the file to write.
        sha256: the checksum that the service names, in hexadecimal digits; None matches nothing.
        source: the archive's URL, for the message.

    Raises:
        DownloadError: the checksum is another one; the file is left as it is.
        OSError: the disk refuses the file.
    """
    with archive.open("wb") as file:
        writer = HashingWriter(file)
        for chunk in chunks:
            writer.write(chunk)
    if writer.sha256 != sha256:
        raise DownloadError(
            f"The model from {source} is damaged: its SHA-256 is {writer.sha256}, "
            f"the service says {sha256}. Download it again."
        )


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
        raise DownloadError(f"The model's archive cannot be unpacked: {damage(error)}.") from error
