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
from luthier.trials.data.folder_splits import PASSED_OVER, find_splits, is_split
from luthier.trials.data.foreign_media import cure_of
from luthier.trials.data.media_tree import SUFFIXES, Tree, inner_tree, listed, scan, table_cure
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

FILES_PASSED_OVER = "files-passed-over"
"""Code of the finding on files that are not read."""
_CONTAINER = re.compile("audios?|data|files|images?|imgs?|jpe?gs?|originals?|photos|pictures|png|raw|sounds|wavs?")
"""Names of a folder that holds a class's files and means nothing: n01443537/images."""
_PARTS = re.compile(
    r"(?:fold|part|batch|chunk|shard|split|subset|archive|block|dis[ck]|volume)[ _-]?\d+", re.IGNORECASE
)
_IMAGES = re.compile("images?|imgs?|jpegimages|originals?|raw", re.IGNORECASE)
_MASKS = re.compile(
    "(?:seg(?:mentation)?[ _-]?)?masks?|segmentations?|annotations?|labels?|ground[ _-]?truths?|gts?|depths?",
    re.IGNORECASE,
)
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
    copies = _copies(tree)
    classes = {label: inner for label, inner in tree.folders.items() if label not in copies}
    if not classes:
        text = f"{here} holds no folders; put the {role} files of each class into a folder with the class's name."
        if not tree.files and (cure := _cure(tree.others, role, "")):
            text = f"{here} holds no folders, but {_counted(tree.others)}; {cure}."
        raise BadData(text + table_cure(tree, here, role), *path)
    if len(classes) == 1 and tree.tables:
        text = f"{here} holds one folder, {next(iter(classes))}, which is no set of classes."
        raise BadData(text + table_cure(tree, here, role), *path)
    _check_classes(here, classes, role, *path)
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
    findings = []
    if others:
        text = f"{here}: passed over by their endings {_counted(others)}; {len(paths):,} {role} files are read."
        findings.append(_passed_over(text, others, role))
    if masks := _masks(classes):
        text = f"{here}: {len(masks):,} {role} files are called like masks of others: {listed(masks)}."
        cure = "Move them away if they are no examples of their class."
        findings.append(warning("files-like-masks", text, cure, len(masks), masks))
    links = [f"{label}/{sub}" for label, inner in classes.items() for sub, t in inner.folders.items() if t.linked]
    spare = [*(f"{copy} ({tree.folders[copy].count:,} files, a copy)" for copy in copies), *links]
    spare += [f"{len(tree.files):,} {role} files beside the folders"] if tree.files else []
    if spare:
        count = sum(tree.folders[copy].count for copy in copies) + len(tree.files)
        cure = f"Put {role} files of a class into the class's folder; links are not followed."
        findings.append(warning(PASSED_OVER, f"{here}: passed over {listed(spare)}.", cure, count, [*copies, *links]))
    names = [str(file.relative_to(folder)) for file in paths]
    columns: dict[str, list[Any]] = {role: list(paths), "label": list(labels)}
    return Table(name, path, [role, "label"], columns, len(paths), rows_named=names, findings=tuple(findings))


def _copies(tree: Tree) -> list[str]:
    """Return the folders that hold folders of the same names as stand beside them: pets/{cat, dog, pets/{cat, dog}}."""
    return [
        name
        for name, inner in tree.folders.items()
        if not inner.files and len(inner.filled) > 1 and set(inner.filled) <= set(tree.folders) - {name}
    ]


def _check_classes(name: str, classes: dict[str, Tree], role: str, *path: str) -> None:
    """Raise BadData where the folders cannot be classes: splits without classes, or all with the same subfolders."""
    filled = {label: tree for label, tree in classes.items() if tree.count}
    splits = find_splits(list(filled))
    if len(set(splits.values())) > 1 and len(splits) == len(filled):
        train = next((folder for folder, split in splits.items() if split == "train"), next(iter(splits)))
        raise BadData(
            f"{name} holds {listed(list(filled))}, which are splits and no classes; write dataset.source as "
            f"{{train: {name}/{train}, ...}}, each with a folder for each class.",
            *path,
        )
    same = set.intersection(*(set(tree.filled) for tree in filled.values())) if filled else set()
    if len(filled) > 1 and all(map(_PARTS.fullmatch, filled)) and not same:
        raise BadData(
            f"{name} holds {listed(list(filled))}, which are parts of the data and no classes by their names; list the "
            f"{role} files and their labels in a csv.",
            *path,
        )
    masks = [folder for folder in filled if _MASKS.fullmatch(folder)]
    if masks and any(map(_IMAGES.fullmatch, filled)):
        raise BadData(
            f"{name} holds {listed(list(filled))}: {listed(masks)} seem to be masks or boxes of the others and no "
            f"class; list the {role} files and their labels in a csv.",
            *path,
        )
    if len(filled) < 2 or any(tree.files for tree in filled.values()):
        return
    inside = {label: set(tree.filled) for label, tree in filled.items()}
    owners = Counter(sub for subs in inside.values() for sub in subs)
    shared = sorted(sub for sub, count in owners.items() if count > 1)
    if len(owners) == 1 and _CONTAINER.fullmatch(shared[0].lower()):
        return
    if 2 * len(shared) < len(owners) or not all(subs & set(shared) for subs in inside.values()):
        return
    first, second, *_ = filled
    masks = [sub for sub in shared if _MASKS.fullmatch(sub)]
    if masks and any(map(_IMAGES.fullmatch, shared)):
        raise BadData(
            f"{name}: {listed(list(filled))} hold the same folders ({listed(shared)}), of which {listed(masks)} seem "
            f"to be masks or boxes and no examples: move the folders {listed(masks)} away.",
            *path,
        )
    if len(set(find_splits(shared).values())) > 1:
        raise BadData(
            f"{name}: {listed(list(filled))} hold the splits {listed(shared)}. Put the folders of the classes inside "
            f"those of the splits ({shared[0]}/{first}), or list files and labels in a csv for each split.",
            *path,
        )
    raise BadData(
        f"{name}: {listed(list(filled))} hold the same folders ({listed(shared)}), so they are parts of the data and "
        f"no classes. If they are splits, write dataset.source as {{train: {name}/{first}, test: {name}/{second}}}; to "
        f"learn from all, or to tell them apart, list the {role} files and their labels in a csv.",
        *path,
    )


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
