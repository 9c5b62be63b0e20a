"""Targets that are texts: what a model learns to write.

The tasks that write texts name one of them. A row's target is the text itself, or None where a whole text is learned.
"""

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from luthier.studies.findings import EXAMPLES, Finding, note, warning
from luthier.studies.text import one_line
from luthier.trials.data.columns import texts
from luthier.trials.data.conversations import ASSISTANT, Message, answer_places, read_answers, read_chats, read_prompts
from luthier.trials.data.splits import Split
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.data.unseen import refuse_unseen
from luthier.trials.errors import BadData

TEXT, COMPLETION, MESSAGES = "text", "completion", "messages"
"""What rows are: texts, learned as a whole; prompts with completions; conversations that end with an answer."""
EXCERPT = 40
"""Characters of a text in a sentence."""
DOMINANT = 0.9
"""Share of the training rows above which one target is said to be nearly all of them."""


@dataclass(frozen=True)
class TextTargets(Targets):
    """A text for each row.

    Attributes:
        form: What rows are, `TEXT` among them where nothing is told apart from what the model reads.
        every: All answers of a conversation are learned: a row's target is the tuple of them, in order.
    """

    form: str
    every: bool = False
    roles: ClassVar[tuple[str, ...]] = ("completion", "messages")
    exclusive: ClassVar[bool] = False  # a text has more than one translation
    readers: ClassVar[Mapping[str, Any]] = {"messages": read_prompts}

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read a text for each row. Raises BadData for one that is empty, or no text."""
        if not columns:
            return cls(TEXT), {name: [None] * table.rows for name, table in tables.items()}
        role, column = next(iter(columns.items()))
        read = read_answers if role == MESSAGES else texts
        return cls(role), {name: read(table, column) for name, table in tables.items()}

    @classmethod
    def check_misread(cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        """Raise BadData for a text to learn in which nothing can be seen."""
        for role, column in columns.items() or ((role, inputs[role]) for role in (TEXT,) if role in inputs):
            for table in tables.values():
                refuse_unseen(table, column, read_chats(table, column) if role == MESSAGES else table.columns[column])

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return the targets of a packed model."""
        return cls(str(about["learns"]))

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return an empty text to learn for each row; None where the model reads all of it."""
        return [None if self.form == TEXT else ""] * rows

    @property
    def about(self) -> dict[str, Any]:
        """What rows are."""
        return {"learns": self.form}

    @property
    def identity(self) -> Hashable:
        """What rows are."""
        return self.form

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """Metric -> why the data cannot measure it."""
        if self.form != TEXT:
            return {}
        cure = "give the data the columns prompt and completion, or messages"
        return {"exact_match": f"a whole text is learned, so there is no answer to be written; {cure}"}

    def as_text(self, target: Any) -> str:
        """Return the text that is learned."""
        return "" if target is None else target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable about the texts: one that is all, or nearly all, of them."""
        rows = splits["train"]
        if self.form == TEXT or not rows:
            return ()
        text, count = Counter(row[-1] if self.every else row for row in rows).most_common(1)[0]
        if count <= DOMINANT * len(rows) or len(rows) < 2:
            return ()
        said = f"{count:,} of {len(rows):,} training rows have the same text to learn ({_excerpt(text)!r}), so the "
        said += "model learns to write that, whatever it reads."
        return (warning("one-text-to-learn", said, "Check the column, or add rows with other texts.", count),)

    def input_findings(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[Any]) -> Sequence[Finding]:
        """Return what is remarkable about what is read and learned: texts that are copied, answers that are context."""
        if self.form == MESSAGES:
            return () if self.every else _earlier_answers(columns["messages"])
        sources = columns.get("prompt", columns.get("source"))
        return () if sources is None else _copies(sources, rows)


@dataclass(frozen=True)
class TranslationTargets(TextTargets):
    """A text for each row, written from a source."""

    roles: ClassVar[tuple[str, ...]] = ("target",)
    readers: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read a text for each row. Raises BadData for one that is empty, or no text."""
        return cls("target"), {name: texts(table, columns["target"]) for name, table in tables.items()}


def with_every_answer(targets: Targets, splits: Mapping[str, Split]) -> tuple[Targets, dict[str, Split]]:
    """Return targets and splits in which all answers of each conversation are learned. Raises BadData."""
    if not isinstance(targets, TextTargets) or targets.form != MESSAGES:
        text = "all is for conversations (a column messages), and the data has none; leave dataset.learn out."
        raise BadData(text, "dataset", "learn")
    changed = {}
    for name, split in splits.items():
        prompts = split.columns["messages"]
        values = [
            (*(str(messages[place]["content"]) for place in answer_places(messages)), answer)
            for messages, answer in zip(prompts, split.targets, strict=True)
        ]
        changed[name] = replace(split, targets=values)
    return replace(targets, every=True), changed


def _copies(sources: Sequence[str], written: Sequence[str]) -> list[Finding]:
    """Return the finding on rows whose text to learn is what the model reads; none where there are none."""
    rows = [i for i, pair in enumerate(zip(sources, written, strict=True)) if pair[0].strip() == pair[1].strip()]
    if not rows:
        return []
    shown = [f"row {row + 1} of the train split ({_excerpt(sources[row])!r})" for row in rows[:EXAMPLES]]
    said = f"{len(rows):,} of {len(sources):,} training rows have the same text to read and to learn."
    cure = "Remove them, if the model is not to learn to copy."
    if 2 * len(rows) > len(sources):
        return [warning("copied-texts", said, cure, len(rows), shown)]
    return [note("copied-texts", said, len(rows), shown, cure)]


def _earlier_answers(conversations: Sequence[Sequence[Message]]) -> list[Finding]:
    """Return the finding on answers before the last ones, which are read only; none where there are none."""
    count = sum(message["role"] == ASSISTANT for messages in conversations for message in messages)
    if not count:
        return []
    said = f"{count:,} answers before the last ones of their conversations are read as context, and not learned."
    cure = "To learn them, too, write dataset: {learn: all}."
    return [note("answers-as-context", said, count, (), cure)]


def _excerpt(text: str) -> str:
    return one_line(text)[:EXCERPT]
