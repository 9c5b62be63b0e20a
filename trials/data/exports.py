"""JSON as annotation tools and web services export it: known by its keys, and read or explained.

`data.records` asks it about every JSON file. What these exports call a row is often no example: a rejected one, say.
"""

from collections.abc import Callable, Mapping
from typing import Any

from luthier.trials.data.text_files import TextFile

_EXPORTS: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({"data", "annotations"}),
        "is an export of Label Studio in its own format; export it again as JSON-MIN or CSV, a row for each example.",
    ),
    (
        frozenset({"images", "annotations", "categories"}),
        "is a COCO file, of boxes in images, whose task is object-detection, with the columns image and objects; "
        "classification needs one label for each image, in a csv or as folders.",
    ),
    (
        frozenset({"messages"}),
        'holds conversations ("messages"), which the task text-generation learns; for other tasks write their columns.',
    ),
    (
        frozenset({"conversations"}),
        "holds conversations, which text-generation learns from the column that dataset.columns.messages names; "
        "for other tasks write their columns, such as a text and a label for each example.",
    ),
    (
        frozenset({"paragraphs"}),
        "holds questions on paragraphs, as SQuAD has it; their task is question-answering, with the columns question, "
        "context and answers.",
    ),
)
_ANSWERS = frozenset({"accept", "reject", "ignore"})


def check_export(file: TextFile, records: list[Any], selection: set[str]) -> None:
    """Raise BadData where records are an export that is no table, by the keys of the first one."""
    if not records or selection <= set(records[0]):
        return
    for keys, said in _EXPORTS:
        if keys <= set(records[0]) and all(isinstance(records[0][key], list | dict) for key in keys):
            raise file.refuse(f" {said}")


def inner_records(
    file: TextFile, records: list[Any], selection: set[str], about: Mapping[str, Any] | None = None
) -> list[Any]:
    """Return the objects inside records, where one key of each holds all columns: {"row": {"text": ...}}.

    Args:
        file: The file.
        records: JSON objects.
        selection: The columns that are asked for.
        about: The object that holds the records, as the viewer of the hub gives them.

    Raises:
        BadData: The viewer of the hub has cut a cell, or given a page of the rows only.
    """
    first = records[0] if records else {}
    if selection & set(first):
        return records
    keys = [key for key, inner in first.items() if isinstance(inner, dict) and selection <= set(inner)]
    if len(keys) != 1 or not all(isinstance(record.get(keys[0]), dict) for record in records):
        return records
    cut = next((i for i, record in enumerate(records) if selection & set(record.get("truncated_cells") or ())), None)
    if cut is not None:
        text = f": row {cut + 1} was cut by the viewer of the hub (truncated_cells); fetch the data set itself."
        raise file.refuse(text)
    total = (about or {}).get("num_rows_total")
    rows = (about or {}).get("rows")
    if isinstance(total, int) and isinstance(rows, list) and total > len(rows):
        text = f" holds {len(rows):,} of {total:,} rows, a page of the viewer of the hub; fetch the data set itself."
        raise file.refuse(text)
    return [record[keys[0]] for record in records]


def check_answers(file: TextFile, records: list[Any], selection: set[str], where: Callable[[int], str]) -> None:
    """Raise BadData where Prodigy's column "answer" says that a row was not accepted, and the spec does not use it."""
    if "answer" in selection or not records or "answer" not in records[0]:
        return
    answers = [record.get("answer") for record in records]
    if not all(isinstance(answer, str) and answer in _ANSWERS for answer in answers):
        return
    wrong = next((i for i, answer in enumerate(answers) if answer != "accept"), None)
    if wrong is not None:
        raise file.refuse(
            f", {where(wrong)}: its answer is {answers[wrong]!r}, so its label does not hold; keep the rows that were "
            "accepted, or remove the column answer."
        )
