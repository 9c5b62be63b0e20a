"""Old trials in a csv, as `luthier export` writes it or with a column for each hyperparameter: read for a spec.

The client reads the file that a spec names under `from.file` and sends its rows as `from.trials`: the service reads no
files of its users. Scores of elsewhere only say which configurations are tried first.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError
from luthier.studies.external import EXTERNAL
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.origin import MOST_GIVEN

PREFIX = "params."  # of the columns of an export
LONGEST = 64 * 2**20  # bytes of a file


class BadTrials(LuthierError, ValueError):
    """A file of old trials cannot be used; the message says which row and column, and the cure."""


def with_file_read(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec whose `from.file` is replaced by the rows of that file; any other spec as it is.

    Raises:
        BadTrials: the file is no csv of trials.
        OSError: it cannot be read.
    """
    origin = document.get("from")
    if not isinstance(origin, Mapping) or not isinstance(origin.get("file"), str) or "trials" in origin:
        return dict(document)
    space = document.get("space")
    own = space if document.get("task") == EXTERNAL and isinstance(space, Mapping) else None
    rows = read_trials(Path(origin["file"]).expanduser(), _minimizes(document), own)
    return {**document, "from": {**{k: v for k, v in origin.items() if k != "file"}, "trials": rows}}


def _minimizes(document: Mapping[str, Any]) -> bool:
    """Return whether less is better in a study; False for a spec that the service will refuse."""
    from luthier.studies.spec import StudySpec

    try:
        return not StudySpec.model_validate({key: part for key, part in document.items() if key != "from"}).maximize
    except ValueError:
        return False


def read_trials(file: Path, minimize: bool = False, own: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the trials of a csv that ended well, the best first, at most as many as a spec may hold.

    Args:
        file: as `luthier export` writes it, or with a column for each hyperparameter, and perhaps `value` and `state`.
        minimize: a lower value is better.
        own: the space of an external study, whose names are its user's own.

    Raises:
        BadTrials: it is no csv of trials, or a cell is wrong.
        OSError: it cannot be read.
    """
    if file.stat().st_size > LONGEST:
        raise BadTrials(f"{file} has more than {LONGEST // 2**20} MB: leave out what is no trial.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTrials(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = _columns(file, reader.fieldnames or [], own)
        trials = [_trial(file, reader.line_num, row, columns, own) for row in reader if _ended_well(row)]
    except csv.Error:
        text = f"{file} cannot be read as a csv: a quote is not closed, or a cell holds a line break without quotes"
        raise BadTrials(f"{text}. Write it as `luthier export NAME > trials.csv` does.") from None
    trials = [trial for trial in trials if trial["params"]]
    if not trials:
        raise BadTrials(f"{file} has no row of a trial that ran to its end.")
    sign = 1.0 if minimize else -1.0
    trials.sort(key=lambda trial: math.inf if trial["value"] is None else sign * trial["value"])
    return trials[:MOST_GIVEN]


def _columns(file: Path, names: Sequence[str], own: Mapping[str, Any] | None) -> dict[str, str]:
    """Return column -> hyperparameter. Raises BadTrials where there is none, or an unknown one."""
    known = (*HYPERPARAMETERS, "model") if own is None else tuple(own)
    exported = {name: name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)}
    columns = exported or {name: name for name in names if name in known}
    unknown = [name for name in exported if own is None and exported[name] not in known]
    if unknown:
        raise BadTrials(f"{file}: the column {unknown[0]} is no hyperparameter here: rename it, or leave it out.")
    if not columns:
        text = ", ".join(map(str, names[:8])) or "none"
        wanted = list(known)[:2] if own else ["learning_rate", "batch_size"]
        raise BadTrials(
            f"{file} has no column of a hyperparameter: write {', '.join(wanted)}, ..., or params.{wanted[0]} as "
            f"`luthier export` does. Its columns: {text}."
        )
    return columns


def _ended_well(row: Mapping[str, Any]) -> bool:
    return str(row.get("state") or "complete").strip().lower() == "complete"


def _trial(
    file: Path, line: int, row: Mapping[str, Any], columns: Mapping[str, str], own: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a row as `from.trials` has it; an empty cell leaves a hyperparameter out. Raises BadTrials."""
    if None in row:
        raise BadTrials(f"{file}, line {line} has more cells than the header: quote cells with commas.")
    params = {}
    for column, name in columns.items():
        cell = (row[column] or "").strip()
        if cell:
            where = f"{file}, line {line}, column {column}"
            params[name] = _value(where, name, cell) if own is None else _own_value(own.get(name), cell)
    cell = str(row.get("value") or "").strip()
    return {"params": params, "value": _number(f"{file}, line {line}, column value", cell) if cell else None}


def _value(where: str, name: str, cell: str) -> bool | int | float | str:
    knob = HYPERPARAMETERS.get(name)
    if knob is None or knob.has_words:
        return cell
    number = _number(where, cell)
    return int(number) if number == int(number) and knob.kind == "int" else number


def _own_value(dimension: Any, cell: str) -> bool | int | float | str:
    """Return a value of an external study; a word that looks like a number is one of `dimension`, as its spec says."""
    if cell in (dimension if isinstance(dimension, list | tuple) else (dimension,)):
        return cell
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    try:
        number = float(cell)
    except ValueError:
        return cell
    if not math.isfinite(number):
        return cell
    return int(number) if number == int(number) and "." not in cell else number


def _number(where: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadTrials(f"{where}: {cell[:40]!r} is no number; write one, with a point, or leave the cell empty.")
    return number
