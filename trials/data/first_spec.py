"""A first spec for somebody's data: looked at, guessed, and written with a comment on each guess; a program of its own.

`luthier init` starts it with the source on stdin, and gets JSON: the spec as YAML, or the sentence why there is none.
`wished_spec` writes one for uploaded data.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from luthier.studies.documents import load_document
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS
from luthier.trials.data.box_folders import box_tables
from luthier.trials.data.column_kinds import Column
from luthier.trials.data.containers import find_tables, read_tables, standard_tables
from luthier.trials.data.folder_splits import choose_folders
from luthier.trials.data.guesses import Guess, guess
from luthier.trials.data.listing_tables import Listing, listing_of
from luthier.trials.data.located import HubDataset, LocalFile, LocalFolder, locate
from luthier.trials.data.mask_folders import has_pairs
from luthier.trials.data.media_folders import read_folder
from luthier.trials.data.media_tree import listed, scan
from luthier.trials.data.sources import read
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.model.local_models import fitting_models, hub_model
from luthier.trials.paths import kind_of

PATH = ("dataset", "source")
UNEQUAL = 0.8
"""Share of the most frequent class from which accuracy says little."""
FEW_ROWS = 1_000
PRESETS_TOLD = "good: 30 trials; quick: 8, best: 80 over more hyperparameters. `luthier plan` shows the values"
MOST_SHOWN = 6
QUESTIONS = {"question": "question", "context": "context", "answers": "answers"}
BOXES = {"image": "image", "objects": "objects"}
KNOWN_BY_ROLES = {"json": (QUESTIONS, BOXES), "jsonl": (QUESTIONS, BOXES), "txt": ({"text": "text"},)}
"""Kind of a file -> columns that it is asked for first."""


@dataclass(frozen=True)
class Look:
    """What was seen of a source.

    Attributes:
        source: As a spec names it.
        rows: Of the training split.
        guess: The task and its columns.
        splits: Splits that the source has by itself.
        table: The training split; None where its files were only counted.
        others: The sources of further splits, where each has one of its own.
        left_out: Names of tables beside it that are not read.
    """

    source: str
    rows: int
    guess: Guess
    splits: tuple[str, ...] = ()
    table: Table | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def look(source: str, choose: Callable[[Table], Guess] = guess) -> Look:
    """Look at a file or folder.

    Args:
        source: Its path.
        choose: Tells what a table is for.

    Raises:
        BadData: It cannot be read, or tells no task.
    """
    located = locate(source, *PATH)
    if isinstance(located, HubDataset):
        raise BadData(f"{source} does not exist here; give a file or a folder.", *PATH)
    return _of_file(located, choose) if isinstance(located, LocalFile) else _of_folder(located, choose)


def _of_file(located: LocalFile, choose: Callable[[Table], Guess]) -> Look:
    table = _whole(lambda roles: read(located, roles), kind_of(located.text))
    return Look(located.text, table.rows, choose(table), table=table)


def _whole(reader: Callable[[dict[str, str]], Table], kind: str) -> Table:
    """Return a table with all its columns, whatever they are called.

    Args:
        reader: Role -> column to the table with those columns.
        kind: The ending of its files' names.

    Raises:
        BadData: It cannot be read.
    """
    for roles in KNOWN_BY_ROLES.get(kind, ()):  # what these files are is told by what is asked of them
        with contextlib.suppress(BadData):
            table = reader(roles)
            if set(table.columns) == set(roles.values()):
                return table
    return reader({column: column for column in reader({}).header})


def _of_folder(located: LocalFolder, choose: Callable[[Table], Guess]) -> Look:
    """Look at a folder: tables, images with masks or boxes, or images or sounds in folders of classes."""
    folder, name = located.folder, located.text
    if has_pairs(folder):
        roles = {"image": "image", "mask": "mask"}
        return Look(name, sum(1 for _ in (folder / "masks").iterdir()), Guess("image-segmentation", roles))
    images, sounds = (scan(folder, name, role, *PATH) for role in ("image", "audio"))
    role = "audio" if sounds.count > images.count else "image"
    tree = max(images, sounds, key=lambda one: one.count)
    if not tree.count:
        return _of_tables(located, choose)
    if role == "image" and (boxes := _boxes(located)):
        train = boxes.get(standard_tables(boxes).get("train", "train")) or next(iter(boxes.values()))
        return Look(name, train.rows, Guess("object-detection", dict(BOXES)), _others(standard_tables(boxes)), train)
    if tree.tables:
        return _of_listing(located, listing_of(tree.tables), choose)
    found = choose_folders(folder, name, role, {}, True, *PATH)
    inner = f"{name}/{found.folders['train']}" if found.folders else name
    table = read_folder(Path(inner).resolve(), inner, role, *PATH)
    label = Column.of(table, "label")
    return Look(name, table.rows, Guess(f"{role}-classification", {}, label), _others(found.folders), table)


def _of_listing(located: LocalFolder, listing: Listing, choose: Callable[[Table], Guess]) -> Look:
    name, folder = located.text, located.folder
    seen = _of_file(LocalFile(f"{name}/{listing.train}", PATH, folder / listing.train), choose)
    others = {split: f"{name}/{table}" for split, table in listing.others.items()}
    return replace(seen, splits=tuple(others), others=others, left_out=listing.left_out)


def _of_tables(located: LocalFolder, choose: Callable[[Table], Guess]) -> Look:
    parts = find_tables(located.folder, located.text, PATH, media=False)
    if not parts:
        raise BadData(
            f"{located.text} holds no table, no images and no sounds; give the file or folder of them.", *PATH
        )
    train = standard_tables(parts).get("train", next(iter(parts)))
    files = parts[train]
    table = _whole(lambda roles: read_tables(files, located.text, roles, PATH), kind_of(files[0].name))
    return Look(located.text, table.rows, choose(table), _others(standard_tables(parts)), table)


def _boxes(located: LocalFolder) -> dict[str, Table]:
    try:
        tables = box_tables(located.folder, located.text, BOXES, *PATH)
    except BadData:
        return {}
    return tables if all(set(BOXES.values()) <= set(table.header) for table in tables.values()) else {}


def _others(splits: Any) -> tuple[str, ...]:
    return tuple(split for split in ("validation", "test") if split in splits)


def written(seen: Look, title: str | None = None, preset: str = "good") -> str:
    """Return the spec as YAML, with comments.

    Args:
        seen: What was seen of the source.
        title: What people call the source; None: its own name.
        preset: That the spec names.
    """
    task = TASKS[seen.guess.task]
    shown = " ".join((title or seen.source).split())
    lines = [f"# A first spec for {shown} ({seen.rows:,} training rows), guessed by `luthier init`.", ""]
    lines += [f"name: {_text(name_of(title or seen.source))}", f"task: {task.name}  # {_one(task.about)}"]
    lines += [f"# {note}" for note in seen.guess.notes]
    lines += [*_model(task), *_dataset(seen, task), *_objective(seen, task)]
    lines += [f"preset: {preset}  # {PRESETS_TOLD}"]
    return "\n".join(lines) + "\n"


def name_of(source: str) -> str:
    """Return a study's name for a source: small letters, digits and hyphens."""
    words = re.sub(r"[^a-z0-9]+", "-", Path(source).name.split(".")[0].lower()).strip("-")
    return words[:40].strip("-") or "study"


def _one(about: str) -> str:
    return about.split(". ", maxsplit=1)[0].rstrip(".")


def _model(task: Task) -> Iterator[str]:
    found = fitting_models(task)
    if not found:
        yield f"model: {hub_model(task)}  # none that fits lies here, so this one is downloaded from the hub"
        return
    others = ", ".join(model.name for model in found[1:MOST_SHOWN])
    more = f"; also here: {others}" if others else ""
    yield f"model: {_text(found[0].name)}  # {found[0].bytes / 1e6:.0f} MB of weights{more}"


def _dataset(seen: Look, task: Task) -> Iterator[str]:
    yield "dataset:"
    sources = {"train": seen.source, **seen.others}
    parts = ", ".join(f"{split}: {json.dumps(source, ensure_ascii=False)}" for split, source in sources.items())
    yield f"  source: {{{parts}}}" if seen.others else f"  source: {_text(seen.source)}"
    if seen.left_out:
        names = " ".join(listed(list(seen.left_out), MOST_SHOWN).split())
        yield f"  # not read: {names}; join tables of the same kind, or"
        yield "  # name one for each split: {train: ..., validation: ..., test: ...}"
    defaults = {role: task.columns[role].column for role in seen.guess.columns}
    if seen.guess.columns and seen.guess.columns != defaults:
        columns = ", ".join(f"{role}: {_text(column)}" for role, column in seen.guess.columns.items())
        yield f"  columns: {{{columns}}}"
    if seen.guess.separator is not None:
        yield f'  label_separator: "{seen.guess.separator}"'
    for split in ("validation", "test"):
        if split in seen.splits:
            yield f"  # {split}: the source's own split is used"
        else:
            yield f"  {split}: 0.15"
    if seen.rows < FEW_ROWS:
        yield f"  # {seen.rows:,} rows are few: differences of some percent between trials may be chance"


def _objective(seen: Look, task: Task) -> Iterator[str]:
    label = seen.guess.label
    first = task.metrics[0].name
    if label is None or task.classes is None or seen.guess.separator is not None:
        yield f"objective: {{metric: {first}}}"
        return
    shares = label.shares()
    shown = ", ".join(f"{_comment(value)} {share:.0%}" for value, share in shares[:MOST_SHOWN])
    yield f"# {len(shares)} classes: {shown}{', ...' if len(shares) > MOST_SHOWN else ''}"
    if label.missing:
        yield f"# {label.missing:,} rows have no label"
    if shares[0][1] >= UNEQUAL and task.metric("macro_f1"):
        yield "objective: {metric: macro_f1}  # accuracy would be as high for always the same answer"
        return
    yield f"objective: {{metric: {first}}}"


def _comment(value: str) -> str:
    return " ".join(value.split())[:40]


def _text(value: str) -> str:
    """Return a text as YAML writes it on one line; in quotes what only YAML 1.2 takes for a number (1e5)."""
    try:
        if not isinstance(load_document(value), str | dict | list):
            return json.dumps(value)
    except ValueError:
        pass  # it needs quotes of YAML
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("\n...\n").strip()
    )


def main() -> None:
    """Print the spec for the source on stdin, or the fault."""
    try:
        seen = look(sys.stdin.read())
        print(json.dumps({"name": name_of(seen.source), "spec": written(seen)}))
    except BadData as fault:
        print(json.dumps({"fault": fault.message}))


if __name__ == "__main__":
    main()
