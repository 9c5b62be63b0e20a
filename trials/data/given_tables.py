"""The tables of a data set's splits: found where its source says, chosen by their columns, and checked.

`data.load` reads their columns; `check_header` is a first look that reads no more than it needs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from luthier.studies.dataset import Dataset, SplitFiles
from luthier.studies.tasks import TASKS
from luthier.trials.data.box_folders import box_tables
from luthier.trials.data.containers import standard_tables
from luthier.trials.data.folder_splits import choose_folders
from luthier.trials.data.hub_data import read_hub
from luthier.trials.data.located import HubDataset, LocalFolder, locate
from luthier.trials.data.mask_folders import pair_tables
from luthier.trials.data.mask_reading import MaskReading
from luthier.trials.data.media_columns import Usable, usable_tables
from luthier.trials.data.media_tree import listed
from luthier.trials.data.sources import folder_tables, media_role, read, read_part
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData


def chosen_tables(dataset: Dataset, task: str) -> tuple[dict[str, str], dict[str, Table], list[Usable]]:
    """Return role -> column, the given splits' tables, and what is known of their images or sounds. Raises BadData."""
    choices = _roles(dataset, task)
    problems: list[BadData] = []
    fitting: list[dict[str, str]] = []
    header: list[str] = []
    for roles in choices:
        try:
            tables = _tables(dataset, roles)
        except BadData as problem:  # some readers tell by the columns what a file is
            problems.append(problem)
            continue
        if len(choices) == 1:
            return roles, *_usable_tables(dataset, roles, tables)
        header = tables["train"].header
        fitting = [choice for choice in choices if set(choice.values()) <= set(header)]
        if fitting == [roles]:
            return roles, *_usable_tables(dataset, roles, tables)
        if fitting:
            break
    if len(fitting) == 1:
        return fitting[0], *_usable_tables(dataset, fitting[0], _tables(dataset, fitting[0]))
    if not header:
        raise problems[0]
    raise BadData(_told_choices(task, bool(fitting), header), "dataset", "columns")


def check_header(dataset: Dataset, task: str) -> None:
    """Check the columns of local tables as `load_data` does, without their values. Raises BadData.

    Where a task has alternatives, only a whole reading tells which of them the data is.
    """
    choices = _roles(dataset, task)
    if len(choices) == 1:
        _check_columns(_tables(dataset, choices[0]), choices[0])


def _told_choices(task: str, several: bool, header: list[str]) -> str:
    """Return the sentences that say what columns a task takes, and why those of the data do not tell."""
    told = f"{task} takes the columns {TASKS[task].told_alternatives}. The data has "
    if several:
        return f"{told}more than one of these; name in dataset.columns those that you mean, as {{text: text}}."
    choices = [choice for choice in TASKS[task].alternatives if len(choice) <= len(header)]
    examples = [zip(choice, [*header[: len(choice) - 1], header[-1]], strict=True) for choice in choices]
    shown = " or ".join(f"{{{', '.join(f'{role}: {column}' for role, column in pairs)}}}" for pairs in examples)
    return f"{told}{listed(header, 20)}; name the right ones in dataset.columns, as {shown}."


def _roles(dataset: Dataset, task: str) -> list[dict[str, str]]:
    """Return role -> column, for each set of roles that the data may have. Raises BadData.

    An optional role is left out unless the spec names its column.
    """
    roles = TASKS[task].columns
    for role in dataset.columns:
        if role not in roles:
            raise BadData(f"Unknown role {role!r}; {task} has {', '.join(roles)}.", "dataset", "columns", role)
    return [choice | dataset.columns for choice in TASKS[task].choices(dataset.columns)]


def _tables(dataset: Dataset, roles: Mapping[str, str]) -> dict[str, Table]:
    """Read train and the other splits that the dataset gives. Raises BadData."""
    source = dataset.source
    path = ("dataset", "source")
    shares = (("validation", dataset.validation), ("test", dataset.test))
    named = {split: name for split, name in shares if isinstance(name, str)}
    if isinstance(source, SplitFiles):
        files = {split: text for split, text in source.model_dump().items() if text is not None}
        chosen = _choose({name: name for name in files} | named, files, "file")
        return {split: read(locate(files[name], *path, name), roles) for split, name in chosen.items()}
    located = locate(source, *path)
    if isinstance(located, HubDataset):
        return read_hub(located, dataset.subset, {"train": "train"} | named, set(roles.values()))
    if isinstance(located, LocalFolder) and (parts := folder_tables(located, roles)):
        standard = {"train": "train"} | standard_tables(parts)
        if dataset.test == 0:
            standard.pop("test", None)
        chosen = _choose(standard | named, parts, "table")
        return {split: read_part(parts[name], f"{source} ({name})", roles, path) for split, name in chosen.items()}
    if isinstance(located, LocalFolder) and not {"mask", "objects"}.isdisjoint(roles):
        pairs = (
            pair_tables(located.folder, str(source), *path)
            if "mask" in roles
            else box_tables(located.folder, str(source), roles, *path)
        )
        if pairs:
            chosen = _choose({"train": "train"} | standard_tables(pairs) | named, pairs, "folder")
            if dataset.test == 0:
                chosen.pop("test", None)
            return {split: pairs[name] for split, name in chosen.items()}
        return {"train": read(located, roles)}
    role = media_role(roles)
    if isinstance(located, LocalFolder) and role is not None:
        found = choose_folders(located.folder, source, role, named, dataset.test != 0, *path)
        tables = {split: read(locate(f"{source}/{name}", *path), roles) for split, name in found.folders.items()}
        if tables:
            return tables | {"train": replace(tables["train"], findings=found.findings + tables["train"].findings)}
    if named:
        text = "One file has no named splits; give a fraction, or files as {train: ..., validation: ..., test: ...}."
        raise BadData(text, "dataset", next(iter(named)))
    return {"train": read(located, roles)}


def _choose(chosen: dict[str, str], names: Iterable[str], kind: str) -> dict[str, str]:
    """Return `chosen`, split -> the name of its file or folder. Raises BadData for one that is not among `names`."""
    for split, name in chosen.items():
        if name not in names:
            text = f"There is no {kind} for the split {name!r}; dataset.source has {', '.join(names)}."
            raise BadData(text, "dataset", split)
    return chosen


def _check_columns(tables: Mapping[str, Table], roles: Mapping[str, str]) -> None:
    """Raise BadData when a table has no rows, or lacks a role's column."""
    for split, table in tables.items():
        if table.rows == 0:
            raise BadData(f"{table.name} has no rows; it needs examples.", *table.path)
        missing = {role: column for role, column in roles.items() if column not in table.header}
        if len(missing) > 1 and not any(column in tables["train"].header for column in missing.values()):
            raise BadData(_told_missing(table, missing), "dataset", "columns")
        for role, column in missing.items():
            text = f"{table.name} has no column {column!r} for {role}; its columns are {listed(table.header, 20)}. "
            if split != "train" and column in tables["train"].header:
                text += f"Name it as in train; or, if {split} is not labelled, leave it out: name the other files in "
                raise BadData(text + "dataset.source as {train: ..., validation: ..., test: ...}.", *table.path)
            text += f"Name the right one in dataset.columns.{role}."
            if role == "tokens":
                text += " Entities as places in a text are not read: write its words and a tag for each, as two lists."
            raise BadData(text, "dataset", "columns", role)


def _told_missing(table: Table, missing: Mapping[str, str]) -> str:
    """Return the sentences that name all columns that a table lacks; `missing`: role -> column."""
    told = " and ".join(f"{column!r} for {role}" for role, column in missing.items())
    return (
        f"{table.name} has no columns {told}; its columns are {listed(table.header, 20)}. Name the right ones in "
        f"dataset.columns, as {{{', '.join(f'{role}: ...' for role in missing)}}}."
    )


def _usable_tables(
    dataset: Dataset, roles: Mapping[str, str], tables: dict[str, Table]
) -> tuple[dict[str, Table], list[Usable]]:
    """Return the given splits' tables, checked, and what is known of their images, sounds and masks. Raises BadData."""
    _check_columns(tables, roles)
    media = []
    for role in (media_role(roles), "mask"):
        if role is not None and role in roles:
            skip, reading = dataset.unreadable == "skip", MaskReading.of(dataset)
            media.append(usable_tables(tables, role, roles[role], skip, reading))
            tables = media[-1].tables
            _check_columns(tables, roles)
    return tables, media
