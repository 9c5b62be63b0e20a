"""Uploaded data sets: how a spec names one, what files can be one, and the folder that holds one.

The service stores them, workers read them from its store or from a copy; both go by the names that are here. It imports
the standard library only.
"""

import hashlib
import re
from pathlib import PurePosixPath
from typing import NamedTuple

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "arrow", "conll", "conllu", "bio", "iob", "iob2", "txt")
"""Endings of the files that workers read as a table."""
PACKED = ("gz", "bz2", "xz")
"""Endings of a compressed table, after its own."""
ARCHIVES = {
    "zip": "zip",
    "tar": "tar",
    "tar.gz": "tar.gz",
    "tgz": "tar.gz",
    "tar.bz2": "tar.bz2",
    "tbz2": "tar.bz2",
    "tar.xz": "tar.xz",
    "txz": "tar.xz",
}
"""Ending of an archive of folders and files -> its kind."""
ALIASES = {"ndjson": "jsonl", "jsonlines": "jsonl", "tab": "tsv", "pq": "parquet", "feather": "arrow"}
"""Other endings of the same formats."""
PREFIX = "dataset:"
FILES = "files"  # the folder, in that of a data set, with its file or with what its archive holds
ID_DIGITS = 16
_REFERENCE = re.compile(rf"{PREFIX}([0-9a-f]{{{ID_DIGITS}}})(?:/(.*))?", re.DOTALL)


class Reference(NamedTuple):
    """An uploaded data set as a spec names it: `dataset:ID`, or a file or folder in it, `dataset:ID/path`."""

    id: str
    path: str


def parse_reference(text: str) -> Reference | None:
    """Return the data set that a source names; None where it names something else.

    Raises:
        ValueError: It begins as the name of a data set does, and is none; the message is a sentence.
    """
    if not text.startswith(PREFIX):
        return None
    match = _REFERENCE.fullmatch(text)
    path = PurePosixPath(match[2] or "") if match else None
    if match is None or path is None or path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError(
            f"{text[:100]} names no data set; write dataset:ID or dataset:ID/path/in/it, with an id of "
            f"{ID_DIGITS} digits that `luthier dataset list` shows"
        )
    return Reference(match[1], "" if str(path) == "." else str(path))


def kind_of_upload(name: str) -> str | None:
    """Return what a file is by the ending of its name: csv, csv.gz, zip, tar.gz ...; None where it is no data."""
    parts = name.lower().split(".")[1:]
    for count in (2, 1):
        ending = ".".join(parts[-count:])
        if len(parts) >= count and ending in ARCHIVES:
            return ARCHIVES[ending]
    packed = f".{parts.pop()}" if len(parts) > 1 and parts[-1] in PACKED else ""
    table = ALIASES.get(parts[-1], parts[-1]) if parts else ""
    return table + packed if table in FORMATS else None


def is_archive(kind: str) -> bool:
    """Return whether data of a kind is an archive, which is unpacked."""
    return kind in ARCHIVES.values()


def stored_name(kind: str) -> str:
    """Return the name under which the uploaded file itself is stored."""
    return f"{'archive' if is_archive(kind) else 'data'}.{kind}"


def dataset_id(kind: str, sha256: str) -> str:
    """Return the id of a data set: of its bytes, and of the kind as which they are read."""
    return hashlib.sha256(f"{kind}\n{sha256}".encode()).hexdigest()[:ID_DIGITS]


def store_folder(id: str) -> str:
    """Return the name of a data set's folder in the store."""
    return f"dataset-{id}"
