"""SQuAD's own JSON, of articles with paragraphs with questions, as rows: one for each question.

`data.records` asks it about every list of JSON objects. Rows are named by article, paragraph and question.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.trials.data.text_files import TextFile

KEYS = frozenset({"title", "context", "id", "question", "answers", "is_impossible"})
"""The columns of its rows."""
_LEVELS = ("paragraphs", "qas")  # of an article, and of a paragraph


@dataclass(frozen=True)
class Questions:
    """The rows of a file.

    Attributes:
        records: A record for each question, with `KEYS` as far as the file has them.
        names: The name of each, for messages.
    """

    records: list[dict[str, Any]]
    names: list[str]


def is_squad(records: Sequence[Any], selection: set[str]) -> bool:
    """Return whether objects are articles or paragraphs, and the columns that are asked for are of their questions."""
    return bool(records) and any(isinstance(records[0].get(level), list) for level in _LEVELS) and selection <= KEYS


def questions(file: TextFile, records: Sequence[Mapping[str, Any]]) -> Questions:
    """Return the questions of articles, or of paragraphs. Raises BadData where a part is missing."""
    found = Questions([], [])
    for place, paragraph, title in _paragraphs(file, records):
        context = paragraph.get("context")
        if not isinstance(context, str):
            raise file.refuse(f", {place}: has no text as context; write it, or remove the paragraph.")
        for number, question in enumerate(_list(file, place, paragraph, "qas"), 1):
            name = f"{place}, question {number}"
            record = {**question, "context": context} | ({} if title is None else {"title": title})
            _check_answers(file, name, record)
            found.records.append({key: value for key, value in record.items() if key in KEYS})
            mark = record.get("id")
            found.names.append(f"{name} (id {mark})" if isinstance(mark, str | int) else name)
    if not found.records:
        raise file.refuse(" holds no questions (qas); write the file anew.")
    return found


def _paragraphs(file: TextFile, records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield each paragraph with its name and the title of its article. Raises BadData."""
    if "qas" in records[0]:
        for number, paragraph in enumerate(records, 1):
            yield f"paragraph {number}", paragraph, paragraph.get("title")
        return
    for article, record in enumerate(records, 1):
        place = f"article {article}"
        for number, paragraph in enumerate(_list(file, place, record, "paragraphs"), 1):
            yield f"{place}, paragraph {number}", paragraph, record.get("title")


def _list(file: TextFile, place: str, record: Any, key: str) -> list[Mapping[str, Any]]:
    """Return a list of objects of a part. Raises BadData."""
    inner = record.get(key) if isinstance(record, dict) else None
    if not isinstance(inner, list) or not all(isinstance(part, dict) for part in inner):
        raise file.refuse(f", {place}: has no list of objects as {key!r}; write it as SQuAD has it.")
    return inner


def _check_answers(file: TextFile, name: str, record: dict[str, Any]) -> None:
    """Raise BadData where answers and `is_impossible` contradict each other; impossible questions need no list."""
    impossible, answers = record.get("is_impossible"), record.get("answers")
    if impossible is not None and not isinstance(impossible, bool):
        raise file.refuse(f", {name}: is_impossible is {impossible!r}; write true or false.")
    if impossible is True and not answers:
        record["answers"] = []
    elif impossible is True:
        raise file.refuse(f", {name}: is_impossible is true, and it has answers; remove them, or write false.")
    elif impossible is False and answers == []:
        raise file.refuse(f", {name}: is_impossible is false, and it has no answer; add it, or write true.")
