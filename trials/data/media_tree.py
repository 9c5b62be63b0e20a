"""The media files of a folder and of those in it, found by ending or content; all others are counted.

`data.folder_splits` and `data.media_folders` read layouts from it. Left out without a word are names with a dot in
front (.DS_Store, .ipynb_checkpoints, ._x.jpg) and what systems and archives put beside files (__MACOSX, Thumbs.db).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luthier.trials.errors import BadData

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
AUDIO_SUFFIXES = frozenset({".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
SUFFIXES: Mapping[str, frozenset[str]] = {"image": IMAGE_SUFFIXES, "audio": AUDIO_SUFFIXES}
"""Role -> the usual endings of its files; a file of another ending is known by its first bytes."""
NO_ENDING = "no ending"

_BEGINNINGS = {
    "image": re.compile(
        rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*|\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51"
        rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|P[1-6][\s#]+\d+\s",
        re.DOTALL,
    ),
    "audio": re.compile(
        rb"RIFF....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS|ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"
        rb"|FORM....AIF[FC]|\.snd\0\0|caff\0\x01|Creative Voice File\x1a|NIST_1A\n",
        re.DOTALL,
    ),
}
_RAW_PHOTOS = frozenset(  # they begin as TIFF does, and a reader of TIFF finds a thumbnail in them
    {".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".kdc", ".nef", ".nrw", ".orf", ".pef", ".rw2", ".sr2", ".srw"}
)
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "@eadir", "__pycache__", "$recycle.bin", "system volume information", "lost+found"}
)
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".json", ".parquet"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})
_DEEPEST_LINK = 4  # levels in which links to folders are followed; below them a class has its files


@dataclass
class Tree:
    """A folder.

    Attributes:
        path: The folder.
        linked: It is a symbolic link.
        files: Its own media files, sorted.
        others: Ending -> number of its own other files.
        folders: Name -> the folder in it, sorted.
        tables: Names of its own files that may list files and labels, sorted.
    """

    path: Path
    linked: bool = False
    files: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    folders: dict[str, "Tree"] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)

    @property
    def filled(self) -> dict[str, "Tree"]:
        """The folders in it that hold media files, at any depth."""
        return {name: tree for name, tree in self.folders.items() if tree.count}

    @property
    def count(self) -> int:
        """The number of media files in it, at any depth."""
        return len(self.files) + sum(tree.count for tree in self.folders.values())

    def below(self) -> Iterator["Tree"]:
        """Yield it and then the folders in it, at any depth, sorted by name, without links to folders."""
        yield self
        for tree in self.folders.values():
            if not tree.linked:
                yield from tree.below()


def scan(folder: Path, name: str, role: str, *path: str) -> Tree:
    """Read a folder. Links to folders are followed near the top, unless they lead back.

    Args:
        folder: The resolved folder.
        name: The folder as the user wrote it, for error messages.
        role: "image" or "audio".
        path: The spec's path of the folder, for error messages.

    Raises:
        BadData: A folder, or a file of an unusual ending, cannot be read.
    """
    try:
        return _scan(Tree(folder), role, (folder,))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        text = f"{name} cannot be read: {error.strerror or error}{where}. Check its permissions."
        raise BadData(text, *path) from None


def _scan(tree: Tree, role: str, above: tuple[Path, ...]) -> Tree:
    with os.scandir(tree.path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name, path = entry.name, tree.path / entry.name
        if name.startswith("."):
            continue
        if entry.is_dir():
            target = path.resolve() if entry.is_symlink() else path
            leads_back = any(folder.is_relative_to(target) for folder in above)
            if name.lower() in _SYSTEM_FOLDERS or (entry.is_symlink() and (leads_back or len(above) > _DEEPEST_LINK)):
                continue
            tree.folders[name] = _scan(Tree(path, linked=entry.is_symlink()), role, (*above, target))
        elif name.lower() not in _SYSTEM_FILES:
            suffix = path.suffix.lower()
            if suffix in SUFFIXES[role] or _is_media(path, suffix, role):
                tree.files.append(path)
            else:
                tree.others[suffix or NO_ENDING] += 1
                if suffix in _TABLES:
                    tree.tables.append(name)
    return tree


def _is_media(file: Path, suffix: str, role: str) -> bool:
    if suffix in _RAW_PHOTOS or not file.is_file():
        return False
    with file.open("rb") as stream:
        return _BEGINNINGS[role].match(stream.read(64)) is not None


def inner_tree(tree: Tree, is_split: Callable[[str], bool]) -> tuple[Tree, str]:
    """Go into a folder as long as there is nothing in it but one folder of folders, as in archive/data/train.

    Args:
        tree: The outermost folder.
        is_split: Whether a name is a split's; a folder with an empty split beside is not gone into.

    Returns:
        The innermost of these folders, and its path from the outermost, "" for itself.
    """
    steps: list[str] = []
    while len(tree.filled) == 1 and not tree.files:
        ((name, only),) = tree.filled.items()
        if not only.filled or any(is_split(other) for other in tree.folders if other != name):
            break
        tree = only
        steps.append(name)
    return tree, "/".join(steps)


def table_cure(tree: Tree, name: str, role: str) -> str:
    """Return a sentence that says how to read the labels from a table in a folder, with a blank before it, or "".

    Args:
        tree: The folder.
        name: The folder as the user wrote it.
        role: "image" or "audio".
    """
    inner = (f"{sub}/{table}" for sub, part in tree.folders.items() if not part.count for table in part.tables)
    table = next(iter([*tree.tables, *inner]), None)
    if table is None:
        return ""
    return (
        f" If {table} lists the files and their labels, write dataset.source as {name}/{table}, and the columns as "
        f"dataset.columns: {{{role}: ..., label: ...}}; paths in it start from its folder."
    )


def listed(names: list[str], most: int = 10) -> str:
    """Return the first names, separated by commas, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
