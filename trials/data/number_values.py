"""Values of a column of numbers: read, or refused with the row and what to write instead.

`Numbers` calls `read_numbers`. What could be read in two ways (1,234) is refused, never guessed.
"""

import math
import re
from datetime import date, time
from decimal import Decimal
from typing import Any

from luthier.studies.findings import Finding, note
from luthier.studies.wire import cut
from luthier.trials.data.label_values import is_gap
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COMMAS = re.compile(r"[+-]?\d+(,\d+)+(\.\d+)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SPACES = re.compile(r"[+-]?\d{1,3}([ _'\u2019\u00a0\u202f]\d{3})+([.,]\d+)?", re.ASCII)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2})?", re.ASCII)
_UNIT = re.compile(r"\D{0,3}\d[\d.,]*\s?\D{1,12}|\D{1,3}\s?\d[\d.,]*")
SHOWN = 40  # characters of a value in a message
LARGEST = 1e30
"""Numbers of 32 bits end at 3e38, and a head's weights are such numbers times others."""


def read_numbers(table: Table, column: str) -> list[float]:
    """Return a column's numbers. Raises BadData."""
    names = table.class_names.get(column)
    if names:
        text = f"{table.name}: column {column!r} holds classes, whose names it declares ({', '.join(names[:5])}); "
        raise BadData(f"{text}choose a classification task, or a column of numbers.", "dataset", "columns", "label")
    numbers = []
    for i, value in enumerate(table.columns[column]):
        number = _number(value[0] if type(value) is list and len(value) == 1 else value)
        if isinstance(number, str):
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {number}.", *table.path)
        numbers.append(number)
    return numbers


def written_as_text(table: Table, column: str) -> list[Finding]:
    """Return the finding that some numbers of a column are texts among others that are numbers."""
    values = table.columns[column]
    rows = [i for i, value in enumerate(values) if isinstance(value, str)]
    if not rows or len(rows) == len(values):
        return []
    shown = [f"{table.where(i)} ({values[i]!r})" for i in rows[:10]]
    text = f"{table.name}: {len(rows):,} of {len(values):,} numbers of column {column!r} are written as text: "
    return [note("numbers-as-text", f"{text}{', '.join(shown)}.", len(rows), shown, "They are read as numbers.")]


def _number(value: Any) -> float | str:
    """Return a value as a number, or the end of a sentence that says what is wrong with it."""
    if value is None or (isinstance(value, str) and (not value.strip() or is_gap(value))):
        said = "is empty" if value is None or not value.strip() else f"holds {value!r}, which means no number"
        return f"{said}; write the number or remove the row"
    if isinstance(value, bool):
        return f"holds {str(value).lower()}; a number is wanted: of two classes, choose a classification task"
    if isinstance(value, int | float | Decimal):
        return _finite(value)
    if isinstance(value, date | time):
        return f"holds the date or time {value}; write a number, such as the days since a date"
    if isinstance(value, dict):
        return "holds an object where a number is wanted; write the number that is to be learned as a column of its own"
    if isinstance(value, list):
        return f"holds a list of {len(value)} values; a row has one number: choose one, or give each a row"
    if not isinstance(value, str):
        return f"holds {type(value).__name__} where a number is wanted; write it as a number"
    text = value.strip().replace("\N{MINUS SIGN}", "-")
    return _finite(float(text)) if _NUMBER.fullmatch(text) else _misread(text)


def _finite(value: float | Decimal) -> float | str:
    try:
        number = float(value)
    except (OverflowError, ValueError):  # a whole number of more than 308 digits, a decimal that signals
        number = math.inf
    if math.isnan(number):
        return "holds NaN, which is no number; write the number or remove the row"
    if abs(number) > LARGEST:
        return f"holds {cut(str(value), SHOWN)}; numbers go to {LARGEST:g}: correct it, remove the row, or take logs"
    return number


def _misread(text: str) -> str:
    """Return the end of a sentence on a text that is no plain number."""
    shown = repr(cut(text, SHOWN))
    lowered = text.lower().lstrip("+-")
    if lowered in ("inf", "infinity", "1.#inf", "\N{INFINITY}"):
        return f"holds {shown}; a finite number is wanted: correct it or remove the row"
    if lowered.startswith("nan"):
        return f"holds {shown}, which is no number; write the number or remove the row"
    if _DATE.fullmatch(text):
        return f"holds {shown}, a date or time; write a number, such as the days since a date"
    if _COMMAS.fullmatch(text):
        plain = text.replace(",", ".", 1) if text.count(",") == 1 and "." not in text else text.replace(",", "")
        return (
            f"holds {shown}; a comma may part thousands or decimals: write a point before decimals and nothing between "
            f"thousands, as {plain}"
        )
    if _SPACES.fullmatch(text):
        return f"holds {shown}; write nothing between thousands, and a point before decimals"
    if not text.isascii() and any(letter.isdecimal() and not letter.isascii() for letter in text):
        return f"holds {shown}, with digits of another script; write numbers in the digits 0 to 9"
    if text.startswith("(") and text.endswith(")"):
        return f"holds {shown}; write negative numbers with a minus"
    if _UNIT.fullmatch(text):
        return f"holds {shown}; write the number alone, without its unit or sign"
    return (
        f"holds the text {shown} where a number is wanted; name the column of numbers, or choose a classification task"
    )
