"""Local paths that a spec names, resolved and held inside the data roots.

Local paths must lie inside the folders of LUTHIER_DATA_ROOTS (separated by colons, symlinks resolved); `/` means
anything the user may read, and so does no such variable, but a worker always sets it. URLs are refused.
"""

import os
import re
from pathlib import Path

from luthier.trials.errors import BadData

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "arrow", "conll", "bio", "iob")
"""Suffixes of the files that `data.tabular` reads."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def local_path(text: str, *path: str) -> Path | None:
    """The resolved local path `text` names, or None when there is none but it may be a hub id.

    Raises BadData for a URL, for a path outside the data roots, and for one that does not exist.
    """
    if "://" in text:
        raise BadData(f"{text}: URLs are not fetched; download it and give its path.", *path)
    if "\0" in text:
        raise BadData("The path holds a NUL character; remove it.", *path)
    try:
        here = Path(text).expanduser()
        resolved, exists = here.resolve(), here.exists()
    except (OSError, RuntimeError) as error:
        raise BadData(f"{text} cannot be opened: {error}. Check the path.", *path) from None
    hub = _HUB_ID.fullmatch(text) is not None and here.suffix.lstrip(".").lower() not in FORMATS
    if hub and not exists:
        return None
    check_inside_roots(resolved, text, *path)
    if not exists:
        raise BadData(f"{text} does not exist on this worker; check the path ({resolved}).", *path)
    return resolved


def check_inside_roots(resolved: Path, text: str, *path: str) -> None:
    """Raise BadData when LUTHIER_DATA_ROOTS is set and `resolved` lies in none of its folders."""
    roots = os.environ.get("LUTHIER_DATA_ROOTS")
    if roots is None:
        return
    folders = [Path(root).expanduser().resolve() for root in roots.split(":") if root]
    if not any(resolved.is_relative_to(folder) for folder in folders):
        listed = ", ".join(map(str, folders)) or "none"
        raise BadData(f"{text} lies outside the folders data may be read from (LUTHIER_DATA_ROOTS: {listed}).", *path)
