"""A study's examples: read, checked, split (seeded, stratified) and fingerprinted.

The model cache calls `load_data` once for a study, and again when its files change. Each fault of the data is a BadData
whose sentence names the file, the row or column, and the cure. Nothing here needs a model.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Finding
from luthier.studies.semantics import INPUTS_UNITED, LABELS_MERGED, MISREAD_REFUSED, NEWEST_SEMANTICS
from luthier.studies.strategy import Answering
from luthier.studies.tasks import TASKS
from luthier.trials.data.boxes import with_corners
from luthier.trials.data.columns import COLUMN_READERS, check_apart, read_groups, text_findings
from luthier.trials.data.given_tables import chosen_tables
from luthier.trials.data.label_sets import separated
from luthier.trials.data.media_columns import Usable
from luthier.trials.data.repeat_findings import repeat_findings
from luthier.trials.data.repeats import first_rows
from luthier.trials.data.row_digests import Digest, content_digest
from luthier.trials.data.splits import Split, draw_splits, sample
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.data.text_targets import with_every_answer
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
    read = _read_given(dataset, task, kind, semantics, verify)
    given, targets, findings = read.splits, read.targets, list(read.findings)
    digest = functools.cache(content_digest)  # each image and sound is read for it once
    rows: dict[str, Sequence[int]] = {name: range(len(split)) for name, split in given.items()}
    if dataset.limit is not None:
        rows = sample(given, dataset.limit, seed, dataset.draw == "stable", digest)
        given = {name: split.take(rows[name]) for name, split in given.items()}
    for files in read.media:
        if verify and dataset.unreadable == "refuse" and files.role in read.roles:
            files.try_rest(read.roles[files.role], [split.columns[files.role] for split in given.values()])
        findings += files.findings
    inputs = {name: split.columns for name, split in given.items()}
    first = first_rows(inputs, digest) if semantics >= INPUTS_UNITED else {}
    splits = draw_splits(given, dataset, seed, first.get("train"), digest)
    if "validation" not in splits:
        raise BadData("There is no validation split; give a fraction or a file.", "dataset", "validation")
    targets.check_training(splits["train"].targets, read.tables["train"])
    targets = targets.trained_on(splits["train"].targets).as_asked(dataset, answering)
    if verify:
        findings += text_findings(read.tables, read.texts)
        findings += repeat_findings(given, read.tables, rows, first, targets) if first else ()
        findings += _target_findings(targets, splits, read.tables["train"], read.learned)
    left_out = "".join(files.left_out for files in read.media if files.left_out is not None) or None
    return Data(splits, targets, _fingerprint(splits, targets, left_out, digest), tuple(findings))


@dataclass(frozen=True)
class Given:
    """The splits that a data set has, read and checked, before rows are sampled and further splits are drawn.

    Attributes:
        splits: Split name -> its rows.
        targets: What is learned.
        tables: Split name -> the table that it was read from.
        media: What is known of the images or sounds.
        roles: Role -> column, of the inputs and the groups.
        learned: Role -> column, of what is learned.
        texts: The columns that hold texts, read or learned.
        findings: What was passed over, and which labels were merged.
    """

    splits: dict[str, Split]
    targets: Targets
    tables: dict[str, Table]
    media: Sequence[Usable]
    roles: Mapping[str, str]
    learned: Mapping[str, str]
    texts: Sequence[str]
    findings: Sequence[Finding]


def _read_given(dataset: Dataset, task: str, kind: type[Targets], semantics: int, verify: bool) -> Given:
    """Read the tables of a data set, and check every value; arguments and errors are those of `load_data`."""
    roles, tables, media = chosen_tables(dataset, task)
    findings = [finding for table in tables.values() for finding in table.findings]
    reads = {role: read.reads for role, read in TASKS[task].columns.items()}
    learned = {role: roles[role] for role in kind.roles if role in roles}
    roles = {role: column for role, column in roles.items() if reads[role] != "target"}
    if dataset.label_separator is not None:
        tables = {name: separated(table, learned["label"], dataset.label_separator) for name, table in tables.items()}
    if dataset.box_format == "xyxy":
        tables = with_corners(tables, learned["objects"])
    if semantics >= LABELS_MERGED:
        tables, merged = kind.alike(tables, learned)
        findings += merged
    if verify:
        check_apart(roles, learned, task)
    if semantics >= MISREAD_REFUSED:
        kind.check_misread(tables, learned, roles)
    given, targets = _given_splits(tables, kind, learned, roles, reads)
    if dataset.learn == "all":
        targets, given = with_every_answer(targets, given)
    texts = [column for role, column in roles.items() if reads[role] == "text"]
    texts += [learned[role] for role in ("text", "completion", "target") if role in learned]
    return Given(given, targets, tables, media, roles, learned, texts, findings)


def _target_findings(
    targets: Targets, splits: Mapping[str, Split], training: Table, learned: Mapping[str, str]
) -> list[Finding]:
    """Return what is remarkable about what is learned.

    Args:
        targets: What is learned.
        splits: Split name -> its examples.
        training: The table of the training split.
        learned: Role -> column, of what is learned.
    """
    declared = any(column in training.class_names for column in learned.values())
    findings = targets.findings({name: split.targets for name, split in splits.items()}, declared)
    return [*findings, *targets.input_findings(splits["train"].columns, splits["train"].targets)]


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
