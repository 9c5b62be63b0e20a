"""What users write about a study to find it again: tags and notes, and how many of its trials may run at once.

`api/study_changes.py` changes them, views and listings read them. They decide nothing in a search. Both texts are plain
text: whoever shows them on a page escapes them.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.tables import StudyRow

MOST_TAGS = 20
TAG_CHARACTERS = 50
NOTES_CHARACTERS = 10_000
_BETWEEN = "\n"  # tags, in their column; no tag holds it


def tags_of(study: StudyRow) -> list[str]:
    """Return a study's tags."""
    return [tag for tag in (study.tags or "").split(_BETWEEN) if tag]


def joined(tags: Iterable[str]) -> str | None:
    """Return tags as their column holds them."""
    text = _BETWEEN.join(tags)
    return f"{_BETWEEN}{text}{_BETWEEN}" if text else None


def has_tag(tag: str) -> ColumnElement[bool]:
    """Return the SQL condition that a study has a tag, in capitals or not."""
    return StudyRow.tags.icontains(f"{_BETWEEN}{tag.strip()}{_BETWEEN}", autoescape=True)


def check_tags(tags: list[str]) -> list[str]:
    """Return tags without repetitions and without blanks around them. Raises ValueError for one that is none."""
    checked: dict[str, str] = {}
    for tag in tags:
        stripped = tag.strip()
        if not 1 <= len(stripped) <= TAG_CHARACTERS or any(map(_is_control, stripped)):
            shown = "".join(letter for letter in tag[:20] if not _is_control(letter))
            raise ValueError(f"{shown!r} is no tag: 1 to {TAG_CHARACTERS} characters, on one line")
        checked.setdefault(stripped.lower(), stripped)
    if len(checked) > MOST_TAGS:
        raise ValueError(f"a study has at most {MOST_TAGS} tags, and these are {len(checked)}")
    return list(checked.values())


def check_notes(text: str) -> str:
    """Return notes with plain line ends. Raises ValueError for a text that is too long or holds control characters."""
    notes = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(notes) > NOTES_CHARACTERS:
        raise ValueError(f"must have at most {NOTES_CHARACTERS} characters, and has {len(notes)}")
    for line, words in enumerate(notes.split("\n"), 1):
        if any(_is_control(letter) for letter in words.replace("\t", " ")):
            raise ValueError(f"line {line} holds a control character: it must be plain text")
    return notes


def etag_of(*parts: Any) -> str:
    """Return the entity tag of what a user may change, quotes included."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def study_etag(study: StudyRow) -> str:
    """Return the entity tag of a study: it changes with what a PATCH changes, and with nothing else."""
    share = () if (study.weight, study.priority) == (1.0, 0) else (study.weight, study.priority)
    return etag_of("study", study.id, tags_of(study), study.notes or "", study.parallel, *share)


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
