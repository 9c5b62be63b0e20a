"""Answers to questions, in every form that data sets have them, as texts with their places.

`data.answer_targets` calls `read_answers`; `data.answer_places` finds each answer in its context.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.studies.wire import cut
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

Given = tuple[str, int | None]
"""An answer as the data have it: its text, and the place of its first character, if that is given."""
FORMS = '{"text": ["Paris"], "answer_start": [31]}, with empty lists where the context holds no answer'
_MISSING = f"is missing; write {FORMS}"


class Fault(ValueError):
    """The end of a sentence that says what is wrong with a value, and its cure."""


def read_answers(table: Table, column: str, place_column: str | None = None) -> list[list[Given]]:
    """Return the answers of each row; none where its question has no answer in its context.

    Args:
        table: At least one row.
        column: The column of the answers.
        place_column: The column of the places of their first characters, where these are apart.

    Raises:
        BadData: A value has none of the known forms.
    """
    places: Sequence[Any] = table.columns[place_column] if place_column else [None] * table.rows
    found = []
    for row, (value, place) in enumerate(zip(table.columns[column], places, strict=True)):
        try:
            found.append(_answers(value, place, place_column is not None))
        except Fault as fault:
            text = f"{table.name}, {table.where(row)}: column {column!r} {fault}."
            raise BadData(text, *table.path) from None
    return found


def _answers(value: Any, place: Any, apart: bool) -> list[Given]:
    """Return a row's answers. Raises Fault."""
    if isinstance(value, str):
        value = _unwrapped(value)
    if isinstance(value, Mapping):
        if "text" not in value:
            raise Fault(f"holds an object without the key text; write {FORMS}")
        texts, starts = value["text"], value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        if not isinstance(texts, list):
            raise Fault(f"holds {_kind(texts)} as text where a list is wanted; write {FORMS}")
    elif isinstance(value, list):
        records = [answer if isinstance(answer, Mapping) else {"text": answer} for answer in value]
        texts, starts = ([answer.get(key) for answer in records] for key in ("text", "answer_start"))
    elif isinstance(value, str):
        texts, starts = ([value] if value.strip() else []), None
    elif value is None or (isinstance(value, float) and math.isnan(value)):
        raise Fault(_MISSING)
    else:
        raise Fault(f"holds {_kind(value)} where answers are wanted; write {FORMS}")
    if apart:
        if starts is not None and any(start is not None for start in starts):
            raise Fault("holds places of its own, and dataset.columns.answer_start names them too; leave that out")
        starts = _places(place, len(texts))
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(starts) != len(texts):
        count = len(starts) if isinstance(starts, list) else 1
        raise Fault(f"holds {len(texts)} answers and {count} places (answer_start); give each answer its place")
    return [(_text(text), _place(start)) for text, start in zip(texts, starts, strict=True)]


def _unwrapped(value: str) -> Any:
    """Return what a csv cell holds: an object or a list as JSON, or a text. Raises Fault."""
    start = value.lstrip()[:1]
    if start not in ("{", "["):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        if "'text'" in value or '"text"' in value:
            raise Fault(f"is written as Python prints it; write it as JSON (json.dumps), as {FORMS}") from None
        return value
    return found if isinstance(found, dict | list) else value


def _places(place: Any, count: int) -> list[Any] | None:
    """Return the places of a column of their own: of one answer a number, or a list of numbers. Raises Fault."""
    if isinstance(place, str) and place.lstrip()[:1] == "[":
        try:
            place = json.loads(place)
        except (ValueError, RecursionError):
            raise Fault(f"has the places {place!r}, which is no list of numbers; write [31, 40]") from None
    if isinstance(place, list):
        return place
    is_blank = place is None or (isinstance(place, str) and not place.strip())
    if count != 1:
        return None if is_blank or count == 0 else [place]
    return [None if is_blank else place]


def _text(value: Any) -> str:
    """Return an answer's text. Raises Fault."""
    if not isinstance(value, str):
        raise Fault(f"holds {_kind(value)} where the text of an answer is wanted; write it as text")
    if not value.strip():
        raise Fault("holds an answer that is blank; fill it in, or write empty lists where there is no answer")
    return value


def _place(value: Any) -> int | None:
    """Return a place as a number of characters; None where it is not given. Raises Fault."""
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    if math.isnan(number):
        number = -0.5  # no whole number
    if math.isinf(number) or number != int(number) or number < 0:
        raise Fault(
            f"has the place {cut(repr(value), 40)} (answer_start) where the number of characters before the answer is "
            "wanted; correct it, or leave the place out where the answer occurs once"
        )
    return int(number)


def _kind(value: Any) -> str:
    """Return what a value is, for people."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "nothing"
    return f"{type(value).__name__} ({str(value)[:40]})"
