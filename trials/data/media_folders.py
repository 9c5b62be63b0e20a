"""Folders of images or sounds as tables: a subfolder for each class.

What cannot be classes is refused with the sentence that mends it, what is passed over is named. Folders of splits are
found before, by `data.folder_splits`. `data.sources` calls `read_folder`; no image or sound is decoded here.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from luthier.studies.findings import Finding, note, warning
from luthier.trials.data.class_folders import check_classes, copies
from luthier.trials.data.folder_splits import PASSED_OVER, is_split
from luthier.trials.data.foreign_media import cure_of
from luthier.trials.data.media_tree import SUFFIXES, Tree, inner_tree, listed, scan, table_cure
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

FILES_PASSED_OVER = "files-passed-over"
"""Code of the finding on files that are not read."""
_OF_ANOTHER = re.compile(r"(.+?)[ _.-]*(?:masks?|seg|segmentation|gt|annotated|depth)(?:[ _-]?\d+)?", re.IGNORECASE)


def read_folder(folder: Path, name: str, role: str, *path: str) -> Table:
    """Return a table of a folder with a subfolder per class.

    Args:
        folder: The resolved folder.
        name: The folder as the user wrote it, for error messages.
        role: "image" or "audio", which decides what files count.
        path: The spec's path of the folder, for error messages.

    Returns:
        A table with the columns `role` (paths) and label (the subfolder's name).

    Raises:
        BadData: The folder cannot be read, a class has no file, more files are passed over than read, or the subfolders
            cannot be classes.
    """
    tree, prefix = inner_tree(scan(folder, name, role, *path), is_split)
    here = f"{name}/{prefix}".rstrip("/") if prefix else name
    spare = copies(tree)
    classes = {label: inner for label, inner in tree.folders.items() if label not in spare}
    if not classes:
        text = f"{here} holds no folders; put the {role} files of each class into a folder with the class's name."
        if not tree.files and (cure := _cure(tree.others, role, "")):
            text = f"{here} holds no folders, but {_counted(tree.others)}; {cure}."
        raise BadData(text + table_cure(tree, here, role), *path)
    if len(classes) == 1 and tree.tables:
        text = f"{here} holds one folder, {next(iter(classes))}, which is no set of classes."
        raise BadData(text + table_cure(tree, here, role), *path)
    check_classes(here, classes, role, *path)
    others: Counter[str] = Counter()
    files: dict[str, list[Path]] = {}
    for label, inner in classes.items():
        trees = list(inner.below())
        files[label] = [file for part in trees for file in part.files]  # splits are drawn by this order
        ignored = sum((part.others for part in trees), Counter[str]())
        others += ignored
        if not files[label]:
            endings = ", ".join(sorted(SUFFIXES[role]))
            seen = f", but {_counted(ignored)}" if ignored else ""
            text = f"{here}/{label} holds no {role} file ({endings}){seen}; {_cure(ignored, role)}."
            raise BadData(text + table_cure(tree, here, role), *path)
    paths = [file for inside in files.values() for file in inside]
    labels = [label for label, inside in files.items() for _ in inside]
    _check_passed_over(here, role, len(paths), others, len(tree.files), *path)
    findings = _findings(here, role, tree, spare, classes, others, len(paths))
    names = [str(file.relative_to(folder)) for file in paths]
    columns: dict[str, list[Any]] = {role: list(paths), "label": list(labels)}
    return Table(name, path, [role, "label"], columns, len(paths), rows_named=names, findings=tuple(findings))


def _findings(
    here: str, role: str, tree: Tree, spare: list[str], classes: dict[str, Tree], others: Counter[str], read: int
) -> list[Finding]:
    """Return what of a folder is passed over, or looks like no example.

    Args:
        here: The folder.
        role: "image" or "audio".
        tree: What it holds.
        spare: Folders in it that are copies of others.
        classes: Its other folders.
        others: Ending -> files in the classes that are not read.
        read: Files that are read.
    """
    findings = []
    if others:
        text = f"{here}: passed over by their endings {_counted(others)}; {read:,} {role} files are read."
        findings.append(_passed_over(text, others, role))
    if masks := _masks(classes):
        text = f"{here}: {len(masks):,} {role} files are called like masks of others: {listed(masks)}."
        cure = "Move them away if they are no examples of their class."
        findings.append(warning("files-like-masks", text, cure, len(masks), masks))
    links = [f"{label}/{sub}" for label, inner in classes.items() for sub, t in inner.folders.items() if t.linked]
    told = [*(f"{copy} ({tree.folders[copy].count:,} files, a copy)" for copy in spare), *links]
    told += [f"{len(tree.files):,} {role} files beside the folders"] if tree.files else []
    if told:
        count = sum(tree.folders[copy].count for copy in spare) + len(tree.files)
        cure = f"Put {role} files of a class into the class's folder; links are not followed."
        findings.append(warning(PASSED_OVER, f"{here}: passed over {listed(told)}.", cure, count, [*spare, *links]))
    return findings


def _check_passed_over(name: str, role: str, read: int, others: Counter[str], loose: int, *path: str) -> None:
    """Raise BadData where more files are passed over than read."""
    if others.total() + loose <= read:
        return
    seen = [_counted(others)] if others else []
    seen += [f"{loose:,} {role} files that lie in no class's folder"] if loose else []
    cure = next((f" ({cure})" for ending, _ in others.most_common() if (cure := cure_of(ending, role))), "")
    raise BadData(
        f"{name}: {read:,} {role} files can be read, and more would be passed over: {', '.join(seen)}. Convert those "
        f"that belong to the data{cure} and move the others away.",
        *path,
    )


def _cure(others: Counter[str], role: str, usual: str = "add some or remove the folder") -> str:
    """Return what to do about a folder that holds none of the files of a role, by the endings of those it holds."""
    cures = (cure_of(ending, role) for ending, _ in others.most_common())
    return next((cure for cure in cures if cure), usual)


def _masks(classes: dict[str, Tree]) -> list[str]:
    """Return the files whose name is another's with "mask" or the like added: 1.png and 1_mask.png."""
    found = []
    for label, inner in classes.items():
        for part in inner.below():
            stems = {file.stem for file in part.files}
            of_others = (file for file in part.files if (name := _OF_ANOTHER.fullmatch(file.stem)) and name[1] in stems)
            found += [f"{label}/{file.name}" for file in of_others]
    return found


def _passed_over(text: str, others: Counter[str], role: str) -> Finding:
    """Return the finding on files passed over: a warning where some are images or sounds in another format."""
    endings = [ending for ending, _ in others.most_common()]
    cures = [cure for ending in endings if (cure := cure_of(ending, role))]
    if not cures:
        return note(FILES_PASSED_OVER, text, others.total(), endings)
    return warning(FILES_PASSED_OVER, text, f"If they belong to the data, {'; '.join(cures)}.", others.total(), endings)


def _counted(others: Counter[str]) -> str:
    """Return the endings with their numbers of files, the most frequent first: 101 files (77 .heic, 24 .txt)."""
    parts = [f"{count:,} {ending}" for ending, count in sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))]
    return f"{others.total():,} files ({listed(parts)})"


def folder_stamps(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return (path, time in nanoseconds) of each folder below, which changes with files added, removed or renamed."""
    return tuple((here, Path(here).stat().st_mtime_ns) for here, _, _ in os.walk(folder))
