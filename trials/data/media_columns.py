"""Columns of images or sounds: each row's file is located and tried, and all that cannot be used is told at once.

`load_data` calls `usable_tables` before rows are sampled and, at a study's inspection, `try_rest` after: a broken file
must not show in the middle of a search, nor one a restart. Files are tried in threads, which decoders do not hold up.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from luthier.studies.findings import Finding, note, warning
from luthier.trials.data.images import is_animated, try_image
from luthier.trials.data.mask_reading import MaskReading
from luthier.trials.data.masks import try_mask
from luthier.trials.data.media import Unreadable
from luthier.trials.data.media_paths import Fault, Item, located, whereabouts
from luthier.trials.data.media_tree import listed
from luthier.trials.data.sounds import try_audio
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

_TRIES: Mapping[str, Callable[[Item], bool]] = {"image": try_image, "audio": try_audio, "mask": try_mask}
_ODD = {"image": "transparent-images", "audio": "silent-sounds"}
"""Code of the finding on files of which a try says that they are not as usual."""
ANIMATED = "animated-images"
_THREADS = 4
_NAMED = 10  # files that a message names
_OF_EACH = re.compile("remove|paths start from|check the path")  # cures that say less than `_CURE`
_CURE = "Repair or remove them, or leave them out with dataset.unreadable: skip"


@dataclass(frozen=True)
class Usable:
    """Tables whose column of images or sounds holds resolved paths and bytes.

    Attributes:
        tables: Split -> its table, without the rows that are left out.
        role: "image", "audio" or "mask".
        left_out: SHA-256 of the names of the rows that are left out, None where there are none.
        findings: What is left out, and what is silent or transparent.
    """

    tables: dict[str, Table]
    role: str
    left_out: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def try_rest(self, column: str, chosen: Iterable[Sequence[Item]]) -> None:
        """Try the rows that were chosen of the tables, and add to the findings how many are silent or transparent.

        Args:
            column: The column of images or sounds.
            chosen: Items of the tables' columns, for each split.

        Raises:
            BadData: A file cannot be used.
        """
        wanted = {id(item) for items in chosen for item in items}
        tables = {}
        for split, table in self.tables.items():
            rows = [row for row, item in enumerate(table.columns[column]) if id(item) in wanted]
            tables[split] = _taken(table, rows)
        found = {split: table.columns[column] for split, table in tables.items()}
        tried, odd = _tried(tables, found, self.role)
        _check(tables, tried, self.role)
        self.findings.extend(odd)


def usable_tables(
    tables: Mapping[str, Table], role: str, column: str, skip: bool, masks: MaskReading | None = None
) -> Usable:
    """Locate each row's file, and leave out or refuse what cannot be used.

    Args:
        tables: Split -> its table, with the column.
        role: "image", "audio", or "mask", whose files are all tried here.
        column: Of paths, bytes, or the dictionaries of both that the `datasets` library writes.
        skip: Leave out the rows whose files cannot be used; every file is then tried here.
        masks: How masks are turned into class ids; None: they are that.

    Raises:
        BadData: A file cannot be used, or, with `skip`, more than can be.
    """
    found = {name: [located(table, column, cell) for cell in table.columns[column]] for name, table in tables.items()}
    findings: list[Finding] = []
    if skip or role == "mask" or any(isinstance(item, Fault) for items in found.values() for item in items):
        found, findings = _tried(tables, found, role, masks)  # what is missing and what is broken are told together
    if not skip:
        _check(tables, found, role)
    kept = {name: [i for i, item in enumerate(items) if not isinstance(item, Fault)] for name, items in found.items()}
    placed = {name: replace(table, columns={**table.columns, column: found[name]}) for name, table in tables.items()}
    faults = _faults(tables, found)
    if not faults:
        return Usable(placed, role, findings=findings)
    total = sum(map(len, found.values()))
    if 2 * len(faults) > total:
        nearby = _whereabouts(tables, found)
        text = f"{_told(faults, total, role)}. That is more than half; repair or remove them.{nearby}"
        raise BadData(text, *next(iter(tables.values())).path)
    names = json.dumps([[table.name, where] for table, where, _ in faults])
    left_out = hashlib.sha256(names.encode()).hexdigest()
    text = f"Left out (dataset.unreadable: skip): {_told(faults, total, role)}."
    findings.insert(0, note("left-out", text, len(faults), (where for _, where, _ in faults)))
    return Usable({name: _taken(table, kept[name]) for name, table in placed.items()}, role, left_out, findings)


def _taken(table: Table, rows: list[int]) -> Table:
    """Return some rows of a table, which keep their names."""
    if len(rows) == table.rows:
        return table
    columns = {name: [values[i] for i in rows] for name, values in table.columns.items()}
    return replace(table, columns=columns, rows=len(rows), lines=None, rows_named=[table.where(i) for i in rows])


def _tried(
    tables: Mapping[str, Table], found: Mapping[str, list[Any]], role: str, masks: MaskReading | None = None
) -> tuple[dict[str, list[Any]], list[Finding]]:
    """Return the items, faults in the place of those that cannot be used, and the findings on odd ones."""

    def tried(item: Any, is_named: bool) -> tuple[Any, Sequence[str]]:
        if isinstance(item, Fault):
            return item, ()
        try:
            if role == "mask" and masks is not None:
                return masks.as_ids(item), ()
            odd = () if _TRIES[role](item) else (_ODD[role],)
            return item, (*odd, ANIMATED) if role == "image" and is_animated(item) else odd
        except Unreadable as error:
            name = f"{item} " if isinstance(item, Path) and not is_named else ""
            return Fault(f"{name}{error}; {error.cure}"), ()

    results = {
        name: in_threads(partial(tried, is_named=bool(tables[name].rows_named)), items) for name, items in found.items()
    }
    odd: dict[str, list[str]] = {}
    for name, table in tables.items():
        for row, (_, codes) in enumerate(results[name]):
            for code in codes:
                named = f"{table.name}/{table.where(row)}" if table.rows_named else f"{table.name}, {table.where(row)}"
                odd.setdefault(code, []).append(named)
    said = [_oddity(code, names, sum(map(len, found.values()))) for code, names in sorted(odd.items())]
    return {name: [item for item, _ in items] for name, items in results.items()}, said


def _oddity(code: str, odd: list[str], total: int) -> Finding:
    """Return the finding on usable files that are odd: silent sounds, images with transparent pixels or more frames."""
    if code == ANIMATED:
        text = f"{len(odd):,} of {total:,} images have several frames or pages: {listed(odd, _NAMED)}."
        cure = "Models see the first alone, as with transformers.pipeline; save the one that is meant as an image."
        return note("animated-images", text, len(odd), odd, cure)
    if code == _ODD["image"]:
        text = f"{len(odd):,} of {total:,} images have transparent pixels: {listed(odd, _NAMED)}."
        cure = "Models see the colours below them, as transformers.pipeline does; lay images on a background before."
        return note("transparent-images", text, len(odd), odd, cure)
    text = f"{len(odd):,} of {total:,} sounds are silent from beginning to end: {listed(odd, _NAMED)}."
    cure = "Listen to them, and replace or remove what should not be silent."
    return warning("silent-sounds", text, cure, len(odd), odd)


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return a function's results for files that it decodes, in their order; warnings of decoders are ignored."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_THREADS, processors)) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(function, items))


def _faults(tables: Mapping[str, Table], found: Mapping[str, list[Any]]) -> list[tuple[Table, str, str]]:
    """Return table, row's name and reason of each item that is a fault."""
    return [
        (table, table.where(row), item.reason)
        for name, table in tables.items()
        for row, item in enumerate(found[name])
        if isinstance(item, Fault)
    ]


def _check(tables: Mapping[str, Table], found: Mapping[str, list[Any]], role: str) -> None:
    """Raise BadData that names the first items that are faults."""
    faults = _faults(tables, found)
    if not faults:
        return
    table, where, reason = faults[0]
    text = f"{table.name}, {where}: {reason}. Or leave it out with dataset.unreadable: skip."
    if len(faults) > 1:
        cure = _whereabouts(tables, found).strip() or _common_cure(faults)
        text = f"{_told(faults, sum(map(len, found.values())), role)}. {cure}"
    raise BadData(text, *table.path)


def _common_cure(faults: list[tuple[Table, str, str]]) -> str:
    """Return what to do about faults: their cure, where all have the same one that is no repair of each."""
    cures = {reason.partition("; ")[2] for _, _, reason in faults}
    cure = cures.pop() if len(cures) == 1 else ""
    told = f"{cure[0].upper()}{cure[1:]}, or leave them out" if cure and not _OF_EACH.search(cure) else ""
    return f"{told} with dataset.unreadable: skip." if told else f"{_CURE}."


def _whereabouts(tables: Mapping[str, Table], found: Mapping[str, list[Any]]) -> str:
    """Return where the files may be, with a blank before it, where most of a table's paths lead nowhere; else ""."""
    for name, items in found.items():
        missing = [item.missing for item in items if isinstance(item, Fault) and item.missing]
        if 2 * len(missing) > len(items):
            return whereabouts(tables[name], missing[0])
    return ""


def _told(faults: list[tuple[Table, str, str]], total: int, role: str) -> str:
    """Return how many cannot be used, and the first of them with the reasons."""
    names = list(dict.fromkeys(table.name for table, _, _ in faults))
    short = {name: "" if len(names) == 1 else f"{PurePath(name).name}, " for name in names}
    first = [f"{short[table.name]}{where}: {_short(reason)}" for table, where, reason in faults[:_NAMED]]
    more = f"; and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
    text = f"{len(faults):,} of {total:,} {role} files cannot be used: {'; '.join(first)}{more}"
    return f"{listed(names)}: {text}"


def _short(reason: str) -> str:
    """Return a reason without its cure, and of limited length."""
    text = reason.partition("; ")[0].removesuffix(".")
    return text if len(text) <= 200 else f"{text[:200]}..."
