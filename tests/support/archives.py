"""Archives that tests unpack."""

import io
import tarfile
from pathlib import Path


def unpack_tar(archive: Path | bytes, folder: Path) -> None:
    """Unpack a tar file, packed or not, with tarfile's `data` filter where it has one: Python 3.11.2 has none."""
    source = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    with source, tarfile.open(fileobj=source) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
