"""Data sources: a file, a folder or a hub data set, as `locate` found it, is read.

`load_data` calls it for each source; the model cache asks `source_stamps` whether local
data changed. Local paths stay inside the data roots (`luthier.trials.paths`), and no code of a data set is run.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from luthier.studies.dataset import SplitFiles
from luthier.trials.data.box_folders import box_table
from luthier.trials.data.containers import find_tables, read_tables, refuse_lone_part, table_stamps
from luthier.trials.data.located import HubDataset, LocalFile, LocalFolder, Located
from luthier.trials.data.mask_folders import has_pairs, pair_table
from luthier.trials.data.media_folders import folder_stamps, read_folder
from luthier.trials.data.media_tree import SUFFIXES
from luthier.trials.data.other_folders import describe
from luthier.trials.data.readers import read_file
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS


def media_role(roles: Iterable[str]) -> str | None:
    """Return the role of images or sounds ("image", "audio") if there is one among `roles`."""
    return next((role for role in roles if role in SUFFIXES), None)


def read(located: Located, roles: Mapping[str, str]) -> Table:
    """Read one table from a local file, a folder of its parts, or a folder of images or sounds.

    Args:
        located: The source; a hub data set is refused here, because a file is expected.
        roles: Role -> the column that it is read from.

    Raises:
        BadData: The source is no readable file or folder, or the roles ask a folder for columns.
    """
    role = media_role(roles)
    text, path = located.text, located.path
    if isinstance(located, HubDataset):
        raise BadData(f"{text} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.", *path)
    if isinstance(located, LocalFile):
        refuse_lone_part(located.file, text, path)
        return read_file(located.file, text, roles, path)
    tables = folder_tables(located, roles)
    if len(tables) > 1:
        said = f"{text} holds the splits {', '.join(tables)}; name this folder alone as dataset.source."
        raise BadData(said, *path)
    if tables:
        return read_part(next(iter(tables.values())), text, roles, path)
    if role is None:
        raise BadData(_described(located), *path)
    if "objects" in roles:
        return box_table(located.folder, text, roles, *path)
    if "mask" in roles:
        if has_pairs(located.folder):
            return pair_table(located.folder, text, *path)
        said = f"{text} holds neither a table nor the folders images and masks, of files with the same names; "
        raise BadData(said + "arrange it so, or list the files in a csv with the columns image and mask.", *path)
    if "label" not in roles:
        raise BadData(_without_table(located, text, role, roles), *path)
    for other, column in roles.items():
        if other not in (role, "label") or column != other:
            raise BadData(
                f"{text} is a folder: its files are the {role}s, its subfolders the labels, and it has no columns; "
                "remove this, or list the files in a csv.",
                *("dataset", "columns", other),
            )
    return read_folder(located.folder, text, role, *path)


LISTS = ("csv", "tsv", "json", "jsonl", "parquet")
"""Ends of the names of tables that a folder of images or sounds may hold."""


def _without_table(located: LocalFolder, text: str, role: str, roles: Mapping[str, str]) -> str:
    """Return a sentence on a folder of images or sounds, for a task that needs more columns than a label."""
    tables = sorted(file.name for file in located.folder.iterdir() if file.suffix.lower().removeprefix(".") in LISTS)
    others = " and ".join(column for other, column in roles.items() if other != role)
    cure = f"write a csv with the columns {roles[role]} (paths from its own folder) and {others}, and name it"
    if tables:
        cure = f"name the table in it, {text}/{tables[0]},"
    return f"{text} is a folder of files, which does not tell the {others} of each; {cure} as dataset.source."


def _described(located: LocalFolder) -> str:
    """Return a sentence on a folder in which no table was found."""
    try:
        return describe(located.folder, located.text)
    except OSError as error:
        return f"{located.text} cannot be read: {error.strerror or error}. Check its permissions."


def folder_tables(located: LocalFolder, roles: Mapping[str, str]) -> dict[str, list[Path]]:
    """Return split -> the files of its table, where a folder holds tables; nothing where not. Raises BadData."""
    return find_tables(located.folder, located.text, located.path, media=media_role(roles) is not None)


def read_part(files: Sequence[Path], text: str, roles: Mapping[str, str], path: tuple[str, ...]) -> Table:
    """Read one of the tables that `data.containers.find_tables` found. Raises BadData."""
    return read_tables(files, text, roles, path)


def source_stamps(source: str | SplitFiles) -> tuple[Hashable, ...]:
    """Return sizes and times of a dataset's local files and folders: data whose stamps changed must be read again.

    Stamps follow the names, not the located files: a link that now points to another file is another source.

    Args:
        source: The spec's `dataset.source`, located or not.

    Returns:
        A stamp for each file, None for a source that is not on this worker.
    """
    names = [source] if isinstance(source, str) else [name for name in source.model_dump().values() if name]
    return tuple(path_stamp(Path(name).expanduser()) for name in names)


def path_stamp(path: Path) -> Hashable:
    """Return the identity, size and time of a file, the times of a folder and those below, or None for neither."""
    try:
        status = path.stat()
        if path.is_dir():
            return (folder_stamps(path), table_stamps(path))
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)
