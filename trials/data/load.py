"""A study's examples: read, checked, split (seeded, stratified) and fingerprinted.

The model cache calls `load_data` once for a study, and again when its files change. Each fault of the data is a BadData
whose sentence names the file, the row or column, and the cure. Nothing here needs a model.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from luthier.studies.dataset import Dataset, SplitFiles
from luthier.studies.findings import Finding
from luthier.studies.semantics import INPUTS_UNITED, LABELS_MERGED, NEWEST_SEMANTICS
from luthier.studies.strategy import Answering
from luthier.studies.tasks import TASKS
from luthier.trials.data.box_folders import box_tables
from luthier.trials.data.columns import COLUMN_READERS, check_apart, read_groups, text_findings
from luthier.trials.data.containers import standard_tables
from luthier.trials.data.folder_splits import choose_folders
from luthier.trials.data.label_sets import separated
from luthier.trials.data.mask_folders import pair_tables
from luthier.trials.data.mask_reading import MaskReading
from luthier.trials.data.media_columns import Usable, usable_tables
from luthier.trials.data.media_tree import listed
from luthier.trials.data.repeat_findings import repeat_findings
from luthier.trials.data.repeats import first_rows
from luthier.trials.data.row_digests import Digest, content_digest
from luthier.trials.data.sources import (
    HubDataset,
    LocalFolder,
    folder_tables,
    locate,
    media_role,
    read,
    read_hub,
    read_part,
)
from luthier.trials.data.splits import Split, draw_splits, sample
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.data.text_targets import with_every_answer
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.errors import BadData

__all__ = ["Data", "Split", "load_data"]


@dataclass(frozen=True)
class Data:
    """A study's splits and what is learned from them.

    Attributes:
        splits: "train", "validation" and, where there is one, "test" -> its examples.
        targets: What the task learns.
        fingerprint: SHA-256 of the examples, images and sounds by their content, and of their splits.
        findings: What was passed over or left out, and what else is remarkable.
    """

    splits: Mapping[str, Split]
    targets: Targets
    fingerprint: str
    findings: tuple[Finding, ...] = ()

    @property
    def label_names(self) -> list[str]:
        """Class id -> label; empty where nothing is classified."""
        return self.targets.label_names

    @property
    def labels(self) -> dict[str, int]:
        """Label -> its rows over all splits, or its words where words are labelled."""
        return self.targets.counts(split.targets for split in self.splits.values())

    @property
    def rows(self) -> dict[str, int]:
        """train, validation, test -> its rows; 0 for a split that is not there."""
        return {name: len(self.splits.get(name, ())) for name in ("train", "validation", "test")}


def load_data(
    dataset: Dataset,
    task: str,
    kind: type[Targets],
    seed: int,
    verify: bool = False,
    semantics: int = NEWEST_SEMANTICS,
    answering: Answering | None = None,
) -> Data:
    """Read, check and split a study's examples. The same files, dataset, seed and semantics give the same Data.

    Args:
        dataset: The spec's dataset.
        task: A key of `luthier.studies.tasks.TASKS`.
        kind: What the task learns.
        seed: The spec's seed, by which rows are sampled and splits are drawn.
        verify: Decode every image and sound, and look for all findings, as an inspection does once for all trials.
        semantics: The spec's: what changes rows, labels or splits asks for it.
        answering: How the spec has answers picked from contexts, if it says so.

    Raises:
        BadData: The data cannot be used as the spec says.
    """
    roles, tables, media = _chosen_tables(dataset, task)
    findings = [finding for table in tables.values() for finding in table.findings]
    reads = {role: read.reads for role, read in TASKS[task].columns.items()}
    learned = {role: roles[role] for role in kind.roles if role in roles}
    roles = {role: column for role, column in roles.items() if reads[role] != "target"}
    if dataset.label_separator is not None:
        tables = {name: separated(table, learned["label"], dataset.label_separator) for name, table in tables.items()}
    if semantics >= LABELS_MERGED:
        tables, merged = kind.alike(tables, learned)
        findings += merged
    if verify:
        check_apart(roles, learned, task)
    given, targets = _given_splits(tables, kind, learned, roles, reads)
    if dataset.learn == "all":
        targets, given = with_every_answer(targets, given)
    digest = functools.cache(content_digest)  # each image and sound is read for it once
    rows: dict[str, Sequence[int]] = {name: range(len(split)) for name, split in given.items()}
    if dataset.limit is not None:
        rows = sample(given, dataset.limit, seed, dataset.draw == "stable", digest)
        given = {name: split.take(rows[name]) for name, split in given.items()}
    for files in media:
        if verify and dataset.unreadable == "refuse" and files.role in roles:
            files.try_rest(roles[files.role], [split.columns[files.role] for split in given.values()])
        findings += files.findings
    inputs = {name: split.columns for name, split in given.items()}
    first = first_rows(inputs, digest) if semantics >= INPUTS_UNITED else {}
    splits = draw_splits(given, dataset, seed, first.get("train"), digest)
    if "validation" not in splits:
        raise BadData("There is no validation split; give a fraction or a file.", "dataset", "validation")
    targets.check_training(splits["train"].targets, tables["train"])
    targets = targets.trained_on(splits["train"].targets)
    if dataset.language is not None and isinstance(targets, Transcripts):
        targets = replace(targets, language=dataset.language)
    if answering is not None:
        targets = targets.picked_as(answering)
    if verify:
        written = [role for role in ("text", "completion", "target") if role in learned]  # texts that are learned
        read_as_text = [column for role, column in roles.items() if reads[role] == "text"]
        findings += text_findings(tables, [*read_as_text, *(learned[role] for role in written)])
        findings += repeat_findings(given, tables, rows, first, targets) if first else ()
        declared = any(column in tables["train"].class_names for column in learned.values())
        findings += targets.findings({name: split.targets for name, split in splits.items()}, declared)
        findings += targets.input_findings(splits["train"].columns, splits["train"].targets)
    left_out = "".join(files.left_out for files in media if files.left_out is not None) or None
    return Data(splits, targets, _fingerprint(splits, targets, left_out, digest), tuple(findings))


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


def _given_splits(
    tables: Mapping[str, Table],
    kind: type[Targets],
    learned: Mapping[str, str],
    roles: Mapping[str, str],
    reads: Mapping[str, str],
) -> tuple[dict[str, Split], Targets]:
    """Read the columns of the given splits' tables.

    Args:
        tables: Split name -> its table.
        kind: What is learned.
        learned: Role -> column, of what is learned.
        roles: Role -> column, of the inputs and the groups.
        reads: Role -> how its column is read.

    Raises:
        BadData: A value cannot be used, or a group lies in several splits.
    """
    readers = {**COLUMN_READERS, **kind.readers}
    columns = {
        name: {role: readers[reads[role]](table, column) for role, column in roles.items() if role != "group"}
        for name, table in tables.items()
    }
    targets, values = kind.read(tables, learned, columns)
    groups = {name: read_groups(table, roles["group"]) if "group" in roles else None for name, table in tables.items()}
    given = {name: Split(columns[name], values[name], groups[name], targets.strata(values[name])) for name in tables}
    _check_groups(given, tables)
    return given, targets


def _chosen_tables(dataset: Dataset, task: str) -> tuple[dict[str, str], dict[str, Table], list[Usable]]:
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


def _check_groups(given: Mapping[str, Split], tables: Mapping[str, Table]) -> None:
    """Raise BadData when a group occurs in two of the splits that were given."""
    owner: dict[str, str] = {}
    for name, split in given.items():
        for group in split.groups or ():
            if owner.setdefault(group, name) != name:
                text = (
                    f"The group {group!r} occurs in {tables[owner[group]].name} and in {tables[name].name}; "
                    "move its rows into one of them, or leave out dataset.columns.group."
                )
                raise BadData(text, "dataset", "columns", "group")


def _fingerprint(splits: Mapping[str, Split], targets: Targets, left_out: str | None, digest: Digest) -> str:
    """Return the SHA-256 of what is learned, of every row of every split and of what was left out, in hexadecimal."""
    whole = hashlib.sha256(json.dumps(targets.identity).encode())
    if left_out is not None:
        whole.update(left_out.encode())
    for name, split in splits.items():
        whole.update(json.dumps([name, sorted(split.columns)]).encode())
        columns = [split.columns[role] for role in sorted(split.columns)]
        for row in zip(*columns, split.targets, strict=True):
            whole.update(json.dumps(row, default=digest).encode())
    return whole.hexdigest()
