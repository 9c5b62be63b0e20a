"""Answers for other programs than jq: rows of csv or tsv, names alone, or scores alone.

`output.emit` calls it for `-o csv`, `tsv`, `name` and `value`, and `luthier export` for its rows. A file or a pipe gets
text of others as it is, a terminal without its control characters.
"""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.service.cli.controls import clean

if TYPE_CHECKING:
    from pydantic import BaseModel


def write_rows(answers: Iterable["BaseModel"], separator: str) -> None:
    """Print a header and a row for each answer; a value inside another has a name with a dot, as spec.seed.

    Args:
        answers: what to print.
        separator: "," for csv; a tab for tsv, whose values lose their tabs and line ends.
    """
    rows = [_row(answer) for answer in answers]
    if sys.stdout.isatty():
        rows = [{clean(name): _clean_cell(value) for name, value in row.items()} for row in rows]
    names = dict.fromkeys(column for row in rows for column in row)  # in the order they are met
    if not names:
        return
    if separator == ",":
        writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    for cells in (names, *([row.get(name) for name in names] for row in rows)):
        print(separator.join("" if cell is None else " ".join(str(cell).split()) for cell in cells))


def names_of(answers: Sequence["BaseModel"]) -> list[str]:
    """Return the name of each study, schedule or worker, the number of each trial, the id of each run or data set.

    Raises:
        LookupError: The answer is none of these.
    """
    return [str(_first(answer, ("id", "name", "number", "trial"))) for answer in answers]


def values_of(answers: Sequence["BaseModel"]) -> list[str]:
    """Return the score of each trial, the best score of each study; empty where there is none yet.

    Raises:
        LookupError: The answer has no score.
    """
    scores = []
    for answer in answers:
        found = _first(answer, ("value", "best", "score", "champion"))
        score = _first(found, ("value", "score")) if hasattr(type(found), "model_fields") else found
        scores.append("" if score is None else repr(score))
    return scores


def _first(answer: Any, names: Iterable[str]) -> Any:
    """Return the first of the named fields that an answer has. Raises LookupError."""
    for name in names:
        if name in type(answer).model_fields:
            return getattr(answer, name)
    raise LookupError(type(answer).__name__)


def _clean_cell(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def _row(answer: "BaseModel") -> dict[str, Any]:
    """Return an answer as one flat row."""
    from luthier.service.client.rows import trial_row
    from luthier.service.schemas import TrialView

    return trial_row(answer) if isinstance(answer, TrialView) else _flat(answer.model_dump(mode="json"))


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict) and value:
            row |= _flat(value, f"{prefix}{key}.")
        else:
            row[f"{prefix}{key}"] = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    return row
