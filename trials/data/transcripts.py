"""Targets that are transcripts: what is said in a sound, as text.

Speech recognition names them. The letters of the training table are what a model without a vocabulary of its own learns
to write; a transcript is kept as it is, but for white space and the Unicode form of its letters.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Finding
from luthier.studies.strategy import Answering
from luthier.trials.data.columns import COLUMN_READERS
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.data.transcript_findings import transcript_findings
from luthier.trials.errors import BadData

DELIMITER = "|"
"""Stands for a blank in the vocabulary of a model with CTC."""
MOST_LETTERS = 20_000
"""Different letters: more are no writing of a language."""
JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Part letters or join them in Persian, Hindi and others, whose spelling has them."""
REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Transcripts(Targets):
    """The text of each sound; a row's target is the text, with single blanks and composed letters.

    Attributes:
        letters: The letters of the training table in the order of their code points, the blank excepted.
        language: What is spoken, as a spec names it; None: the model's files say it.
    """

    letters: tuple[str, ...]
    language: str | None = None
    roles: ClassVar[tuple[str, ...]] = ("text",)

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read a text for each row. Raises BadData."""
        texts = {name: _texts(table, columns["text"]) for name, table in tables.items()}
        letters = sorted(set().union(*texts["train"]) - {" "})
        if len(letters) > MOST_LETTERS:
            table = tables["train"]
            text = f"{table.name}: column {columns['text']!r} holds {len(letters):,} different letters, more than any "
            raise BadData(
                f"{text}writing has; name the column of the transcripts in dataset.columns.text.", *table.path
            )
        return cls(tuple(letters)), dict(texts)

    def as_asked(self, dataset: Dataset, answering: Answering | None) -> Self:
        """Return the targets with the language that a spec names."""
        return replace(self, language=dataset.language)

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return the letters of a packed model."""
        language = about.get("language")
        return cls(tuple(str(letter) for letter in about["letters"]), None if language is None else str(language))

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return a transcript of one letter for each sound."""
        return [next((letter for letter in self.letters if letter.isalpha()), "a")] * rows

    @property
    def about(self) -> dict[str, Any]:
        """The letters in their order, and the language that a spec names."""
        return {"letters": list(self.letters), "language": self.language}

    @property
    def identity(self) -> tuple[str, ...]:
        """The letters in their order, and the language that a spec names."""
        return self.letters if self.language is None else (*self.letters, self.language)

    def as_text(self, target: Any) -> str:
        """Return a row's transcript."""
        return str(target)

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable about the letters of the transcripts."""
        return transcript_findings(splits)


def plain_transcript(text: str) -> str:
    """Return a text with single blanks between its words, none around it, and composed letters (Unicode's NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _texts(table: Table, column: str) -> list[str]:
    """Return a column's transcripts. Raises BadData."""
    texts = [plain_transcript(text) for text in COLUMN_READERS["text"](table, column)]
    for i, text in enumerate(texts):
        if problem := _fault(text):
            raise BadData(f"{table.name}, {table.where(i)}: column {column!r} {problem}.", *table.path)
    return texts


def _fault(text: str) -> str | None:
    """Return the end of a sentence that says why a text is no transcript, or None."""
    if DELIMITER in text:
        return f"holds {DELIMITER}, which stands for the blank in vocabularies of speech; write what is said instead"
    if REPLACED in text:
        return f"holds {REPLACED}, which stands for a letter that was lost; save the file in UTF-8 from its source"
    strange = next((letter for letter in text if unicodedata.category(letter) in ("Cc", "Co", "Cn")), None)
    if strange is not None:
        return f"holds {strange!a}, which is no letter; remove it"
    unseen = next((letter for letter in text if unicodedata.category(letter) == "Cf" and letter not in JOINERS), None)
    if unseen is not None:
        name = unicodedata.name(unseen, "no name").lower()
        return f"holds {unseen!a} ({name}), which nobody sees or says; remove it"
    if not any(letter.isalnum() for letter in text):
        return f"holds {text[:40]!r}, in which no word is said; write what is said, or remove the row"
    return None
