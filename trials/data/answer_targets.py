"""Targets that are answers: places in each row's context, or none where it holds none.

Extractive question answering names `AnswerTargets`. What was mended of the answers is told at the inspection.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from luthier.studies.dataset import Dataset
from luthier.studies.findings import EXAMPLES, Finding, note, warning
from luthier.studies.strategy import Answering
from luthier.trials.data.answer_places import ELSEWHERE, WORDS, NoPlace, place_of
from luthier.trials.data.answers import read_answers
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import Targets
from luthier.trials.errors import BadData

_CHARACTERS = 60  # of an answer, in a sentence


@dataclass(frozen=True)
class AnswerTargets(Targets):
    """Answers to questions; a row's target is a list of [start, text], which is empty where there is no answer.

    Attributes:
        unanswerable: Some questions have no answer in their context, so a model may say that there is none.
        answering: How contexts are read and answers picked.
        told: What was found of the answers when they were read.
    """

    unanswerable: bool
    answering: Answering = field(default_factory=Answering)
    told: tuple[Finding, ...] = field(default=(), compare=False)
    roles: ClassVar[tuple[str, ...]] = ("answers", "answer_start")

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read the answers, and find each in its context. Raises BadData."""
        values: dict[str, list[Any]] = {}
        told: list[Finding] = []
        for name, table in tables.items():
            reader = _Reader(table, columns)
            values[name] = reader.read(inputs[name]["context"])
            told += reader.findings()
        unanswerable = any(not answers for rows in values.values() for answers in rows)
        return cls(unanswerable, told=tuple(told)), values

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return what a packed model has learned."""
        return cls(bool(about["unanswerable"]), Answering.model_validate(about.get("answering", {})))

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return that there is no answer to any question."""
        return [[] for _ in range(rows)]

    def as_asked(self, dataset: Dataset, answering: Answering | None) -> Self:
        """Return the targets with how a spec has answers picked."""
        return self if answering is None else replace(self, answering=answering)

    @property
    def about(self) -> dict[str, Any]:
        """Whether some questions have no answer, and how answers are picked."""
        return {"unanswerable": self.unanswerable, "answering": self.answering.model_dump()}

    @property
    def identity(self) -> Hashable:
        """Whether some questions have no answer; and how answers are picked, where that is not the default."""
        if self.answering == Answering():
            return self.unanswerable
        return (self.unanswerable, *self.answering.model_dump().values())

    def as_text(self, target: Any) -> str:
        """Return the different answers of a row."""
        return " | ".join(json.dumps(text, ensure_ascii=False) for text in dict.fromkeys(text for _, text in target))

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return whether each row has an answer, so that each split gets its share of questions without one."""
        return [bool(answers) for answers in rows]

    def check_training(self, rows: Sequence[Any], table: Table) -> None:
        """Raise BadData where no question has an answer."""
        if not any(rows):
            text = f"{table.name}: no question that is left to train on has an answer; add rows with answers."
            raise BadData(text, *table.path)

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what was mended, how many questions have no answer, and which answers are too long to be given."""
        return [*self.told, *_without_answer(splits), *_long(splits["train"], self.answering.max_answer_length)]


class _Reader:
    """Reads the answers of one table, and counts what it mends."""

    def __init__(self, table: Table, columns: Mapping[str, str]) -> None:
        self._table = table
        self._columns = columns
        self._mended: dict[str, list[str]] = {}
        self._counts = Counter[str]()
        self._searched = 0
        self._placed_answers = 0

    def read(self, contexts: Sequence[str]) -> list[list[list[Any]]]:
        """Return each row's answers as [start, text]. Raises BadData."""
        given = read_answers(self._table, self._columns["answers"], self._columns.get("answer_start"))
        return [
            [self._placed(row, context, *answer) for answer in answers]
            for row, (context, answers) in enumerate(zip(contexts, given, strict=True))
        ]

    def _placed(self, row: int, context: str, text: str, start: int | None) -> list[Any]:
        try:
            place = place_of(context, text, start)
        except NoPlace as fault:
            said = f"{self._table.where(row)}: the answer {text[:_CHARACTERS]!r} {fault}."
            raise BadData(f"{self._table.name}, {said}", *self._table.path) from None
        self._searched += start is None
        self._placed_answers += start is not None
        if place.mended:
            self._counts[place.mended] += 1
            examples = self._mended.setdefault(place.mended, [])
            if len(examples) < EXAMPLES:
                moved = f"{text[:_CHARACTERS]!r} from {start} to {place.start}"
                examples.append(f"{self._table.where(row)}: {moved if start is not None else repr(text[:_CHARACTERS])}")
        return [place.start, context[place.start : place.end]]

    def findings(self) -> Iterator[Finding]:
        """Yield what was mended, and how many answers were searched for."""
        for kind, examples in self._mended.items():
            text = f"{self._table.name}: {self._counts[kind]:,} answers did not stand at their place and were put "
            text += f"right: {kind}."
            cure = "Look at a few of them; correct answer_start in the data where the new place is wrong."
            if kind in (ELSEWHERE, WORDS) and 2 * self._counts[kind] > self._placed_answers:
                text += f" They are most of the {self._placed_answers:,} that have a place."
                cure = "Write the characters before an answer as answer_start, not tokens or words; or leave it out."
                yield warning("answers-moved", text, cure, self._counts[kind], examples)
                continue
            yield note("answers-moved", text, self._counts[kind], examples, cure)
        if self._searched:
            text = f"{self._table.name}: {self._searched:,} answers have no place (answer_start); each was found in "
            yield note("answers-searched", text + "its context, where it occurs once.", self._searched)


def _without_answer(splits: Mapping[str, Sequence[Any]]) -> Iterator[Finding]:
    """Yield how many questions have no answer, and whether a split has some and training none."""
    counts = {name: sum(not answers for answers in rows) for name, rows in splits.items()}
    if not any(counts.values()):
        return
    shares = ", ".join(f"{counts[name]:,} of {len(rows):,} in {name}" for name, rows in splits.items())
    text = f"Questions without an answer in their context: {shares}. The right answer to them is none."
    if counts["train"]:
        yield note("no-answers", text, sum(counts.values()))
        return
    cure = "Add some to the training rows, or remove them from the other splits: a model must see them to learn them."
    yield warning("no-answers", text, cure, sum(counts.values()))


def _long(rows: Sequence[Any], longest: int) -> Iterator[Finding]:
    """Yield the training answers with more words than a model's answer has tokens, at most `longest`."""
    long = [answers[0][1] for answers in rows if answers and len(answers[0][1].split()) > longest]
    if not long:
        return
    text = f"{len(long):,} of {len(rows):,} training questions have an answer of more than {longest} words. "
    text += f"A model answers with at most {longest} tokens, so it never gives them whole."
    examples = [f"{answer[:_CHARACTERS]!r} ({len(answer.split())} words)" for answer in long[:EXAMPLES]]
    if len(long) > len(rows) / 20:
        cure = "Shorten the answers to what the question asks for, or raise answering.max_answer_length."
        yield warning("long-answers", text, cure, len(long), examples)
    else:
        yield note("long-answers", text, len(long), examples)
