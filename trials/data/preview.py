"""A preview of an uploaded data set, without a task; a program of its own, with the folder on its stdin.

The service starts it and holds no library that reads data. It reads with the workers' own code, within limits on bytes,
memory and time, and prints JSON (`service/schemas/datasets.py`). It imports no torch; what a library reads that is not
installed is said in a sentence.
"""

import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.studies.uploads import PREFIX, store_folder
from luthier.trials.data.containers import find_tables
from luthier.trials.data.folder_splits import choose_folders
from luthier.trials.data.media_folders import read_folder
from luthier.trials.data.media_tree import SUFFIXES, scan
from luthier.trials.data.preview_columns import column_preview, file_keys, row_keys, shown
from luthier.trials.data.preview_tables import MOST_BYTES, Sample, reads, sample
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

PATH = ("dataset", "source")
MOST_MEMORY = 8 * 2**30  # of addresses: libraries reserve far more than they use
MOST_SECONDS = 60  # of the processor
MOST_COLUMNS = 100
MOST_TABLES = 10
FIRST_ROWS = 10
ORDER = ("train", "validation", "test")


def preview(folder: Path) -> dict[str, Any]:
    """Return the preview of the files in a folder, which is that of an uploaded data set in the store."""
    problems: list[str] = []
    name = f"{PREFIX}{folder.parent.name.removeprefix(store_folder(''))}"  # as a spec names it in dataset.source
    samples = _tables(folder, name, problems) or _media(folder, name, problems)
    if not samples and not problems:
        problems.append("No table was found in it, and no folders of images or sounds.")
    splits: list[dict[str, Any]] = []
    keys: dict[str, list[bytes]] = {}
    for split in sorted(samples, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        found = samples[split]
        columns = [column_preview(name, found.table) for name in _columns(found.table, problems)]
        keys[split] = row_keys(found.table, columns) if found.table.rows_named is None else file_keys(found.table)
        splits.append(
            {
                "split": split,
                "files": [file.relative_to(folder).as_posix() for file in found.files[:10]],
                "rows": found.table.rows,
                "complete": found.complete,
                "columns": columns,
                "first": [shown(found.table, row) for row in range(min(found.table.rows, FIRST_ROWS))],
                "repeats": len(keys[split]) - len(set(keys[split])),
            }
        )
    return {"splits": splits, "overlaps": _overlaps(keys), "problem": " ".join(dict.fromkeys(problems)) or None}


def _columns(table: Table, problems: list[str]) -> list[str]:
    if len(table.header) > MOST_COLUMNS:
        problems.append(f"Only the first {MOST_COLUMNS} of {len(table.header):,} columns are shown.")
    return [name for name in table.header[:MOST_COLUMNS] if name in table.columns]


def _tables(folder: Path, name: str, problems: list[str]) -> dict[str, Sample]:
    """Return split -> what was read of its table; each table by its name where they are no splits."""
    try:
        parts = find_tables(folder, name, PATH, media=False)
    except BadData as problem:
        problems.append(problem.message)
        files = sorted(file for file in folder.rglob("*") if file.is_file() and reads(file.name))
        parts = {file.relative_to(folder).as_posix(): [file] for file in files[:MOST_TABLES]}
    found = {}
    left = MOST_BYTES
    for split, files in parts.items():
        try:
            found[split] = sample(files, files[0].relative_to(folder).as_posix(), max(left, 2**20))
            left -= found[split].read_bytes
        except BadData as problem:
            problems.append(problem.message)
        except ModuleNotFoundError as missing:
            problems.append(
                f"{files[0].name} is read by {missing.name}, which is not installed where the service runs; a worker "
                "has it: `luthier plan` shows the rows and labels."
            )
    return found


def _media(folder: Path, name: str, problems: list[str]) -> dict[str, Sample]:
    """Return split -> the files and labels of a folder of images or sounds."""
    if problems:
        return {}
    try:
        role = max(SUFFIXES, key=lambda role: scan(folder, name, role, *PATH).count)
        if not scan(folder, name, role, *PATH).count:
            return {}
        splits: Mapping[str, str] = choose_folders(folder, name, role, {}, True, *PATH).folders
        tables = {
            split: read_folder(folder / inside, f"{name}/{inside}".rstrip("/"), role, *PATH)
            for split, inside in (splits or {"train": ""}).items()
        }
    except BadData as problem:
        problems.append(problem.message)
        return {}
    return {split: Sample(table, [], True, 0) for split, table in tables.items()}


def _overlaps(keys: Mapping[str, list[bytes]]) -> list[dict[str, Any]]:
    """Return how many rows of a later split are in an earlier one, for each pair that has some."""
    found = []
    names = list(keys)
    sets = {name: set(keys[name]) for name in names}
    for i, split in enumerate(names):
        for other in names[i + 1 :]:
            rows = sum(key in sets[split] for key in keys[other])
            if rows:
                found.append({"split": split, "other": other, "rows": rows})
    return found


def main() -> None:
    """Print the preview of the folder that stdin names."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    print(json.dumps(preview(Path(os.fsdecode(sys.stdin.buffer.read())).resolve()), ensure_ascii=True, allow_nan=False))


if __name__ == "__main__":
    main()
