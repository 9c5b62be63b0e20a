"""Encoded questions: each with its context as one row of tokens, or as several, which overlap.

`QuestionAnswering` makes and uses them. A row is a unit, and the rows of one question are an example.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Self

import numpy
from numpy.typing import NDArray

from luthier.studies.strategy import Answering
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks import text
from luthier.trials.tasks.token_rows import TokenRows, batches
from luthier.trials.tasks.windows import in_windows

Places = NDArray[numpy.int32]
"""(tokens, 2): the first character of each token, and the one behind its last."""
Answers = Sequence[tuple[int, str]]
"""The right answers to a question: the number of the first character in the context, and the text."""


@dataclass(frozen=True, kw_only=True)
class EncodedQuestions(Encoded):
    """Questions with their contexts.

    The targets of a row are numbers of its tokens, from 0: `first` and `last` of the context (first above last: it has
    none), `start` and `end` of the answer, `null` of the token that both point to where there is none; and
    `answerable`: the question has an answer, in this row or another.

    Attributes:
        places: Of each row, where the tokens of its context stand in the whole context.
        contexts: The context of each question.
        answers: The right answers to each question.
        row_offsets: The number of rows before each question, and last the number of rows.
        no_answer: A model may say that there is no answer.
        answering: How it picks answers.
    """

    places: Sequence[Places]
    contexts: Sequence[str]
    answers: Sequence[Answers]
    row_offsets: Sequence[int]
    no_answer: bool
    answering: Answering

    @property
    def example_offsets(self) -> Sequence[int]:
        """The same as `row_offsets`: an example is a question, a unit is a row."""
        return self.row_offsets

    def question(self, row: int) -> int:
        """Return the number of a row's question."""
        return bisect_right(self.row_offsets, row) - 1

    def characters(self, row: int, start: int, end: int) -> tuple[int, int]:
        """Return the first character of a span of a row's tokens, and the one behind its last, without blanks.

        Args:
            row: Its number.
            start: The first token.
            end: The last one; both are of the context, if the row has a part of it.
        """
        places, first = self.places[row], self.targets["first"][row]
        if not len(places):
            return 0, 0
        a, b = int(places[start - first, 0]), int(places[end - first, 1])
        text = self.contexts[self.question(row)][a:b]
        return a + len(text) - len(text.lstrip()), b - len(text) + len(text.rstrip())

    def sample(self, rows: Sequence[int]) -> Self:
        """Return some of the rows as a smaller split, in which each row is a question of its own."""
        return replace(
            super().sample(rows),
            places=[self.places[row] for row in rows],
            contexts=[self.contexts[self.question(row)] for row in rows],
            answers=[self.answers[self.question(row)] for row in rows],
            row_offsets=range(len(rows) + 1),
        )


@dataclass(frozen=True)
class Row:
    """Tokens of a question and of (a part of) its context.

    Attributes:
        question: The question's number.
        first: The number of the first token of the context.
        places: Where the context's tokens stand in it; none: the row has no part of the context.
        null: The number of the token that stands for no answer.
    """

    question: int
    first: int
    places: Places
    null: int


def encode_questions(pretrained: Pretrained, split: Split, max_length: int) -> EncodedQuestions:
    """Return a split's questions in rows of at most `max_length` tokens, a question's rows one after another.

    Args:
        pretrained: A model, whose configuration says how it picks answers, and a fast tokenizer.
        split: Texts under `question` and `context`.
        max_length: In tokens.
    """
    tokenizer, config = pretrained.processor, pretrained.model.config
    answering = Answering(**{name: getattr(config, name) for name in Answering.model_fields})
    longest = text.longest_input(pretrained, max_length, pair=True)
    asked, contexts = split.columns["question"], split.columns["context"]
    found = TokenRows(tokenizer.model_input_names)
    rows = []
    for part in batches([asked, contexts]):
        tokens = in_windows(asked[part], contexts[part], tokenizer, longest, answering.doc_stride)
        found.add(tokens)
        rows += rows_of(tokens, tokenizer.cls_token_id, part.start)
    targets, offsets = targets_of(rows, split.targets)
    lengths = [len(ids) for ids in found.columns["input_ids"]]
    return EncodedQuestions(
        columns=found.columns,
        padding=text.padding(tokenizer, list(found.columns)),
        targets=targets,
        lengths=lengths,
        longest=max(lengths),
        places=[row.places for row in rows],
        contexts=contexts,
        answers=split.targets,
        row_offsets=offsets,
        no_answer=bool(config.no_answer),
        answering=answering,
    )


def rows_of(tokens: Any, null_id: int | None, before: int) -> list[Row]:
    """Return what is known of the rows that a fast tokenizer has made.

    Args:
        tokens: Its result, with overflowing tokens and offsets.
        null_id: The id of the token that stands for no answer; where a row lacks it, its first token does.
        before: The number of questions before those of this result.
    """
    found = []
    for i, question in enumerate(tokens["overflow_to_sample_mapping"]):
        owners, ids = tokens.sequence_ids(i), tokens["input_ids"][i]
        first, places = 0, numpy.zeros((0, 2), dtype=numpy.int32)
        if 1 in owners:
            first, behind = owners.index(1), len(owners) - owners[::-1].index(1)
            places = numpy.array(tokens["offset_mapping"][i][first:behind], dtype=numpy.int32)
        null = ids.index(null_id) if null_id is not None and null_id in ids else 0
        found.append(Row(before + question, first, places, null))
    return found


def targets_of(rows: Sequence[Row], answers: Sequence[Answers]) -> tuple[dict[str, list[Any]], list[int]]:
    """Return the targets of rows, as `EncodedQuestions` has them, and its `row_offsets`.

    Args:
        rows: All rows of all questions, in order.
        answers: The right answers to each question.
    """
    found: list[tuple[int, int]] = []
    offsets = [0]
    for question, windows in groupby(rows, key=lambda row: row.question):
        found += spans(list(windows), answers[question])
        offsets.append(len(found))
    targets: dict[str, list[Any]] = {
        "start": [start for start, _ in found],
        "end": [end for _, end in found],
        "null": [row.null for row in rows],
        "first": [row.first for row in rows],
        "last": [row.first + len(row.places) - 1 for row in rows],
        "answerable": [bool(answers[row.question]) for row in rows],
    }
    return targets, offsets


def spans(rows: Sequence[Row], answers: Answers) -> list[tuple[int, int]]:
    """Return the first and the last token of the answer in each row of a question.

    Both are the row's null token where it does not hold the answer. Of several answers a row has the first that lies
    in it as a whole. An answer that lies in no row as a whole, because it is longer than two rows overlap, is cut in
    the row that has most of it.

    Args:
        rows: All rows of one question, in order.
        answers: The right answers to it.
    """
    found = [_whole(row, answers, is_first=i == 0, is_last=i == len(rows) - 1) for i, row in enumerate(rows)]
    if answers and not any(found):
        start, end = answers[0][0], answers[0][0] + len(answers[0][1])
        parts = [_tokens(row, start, end) for row in rows]
        sizes = [part[1] - part[0] + 1 if part else 0 for part in parts]
        most = sizes.index(max(sizes))
        found[most] = parts[most]
    return [span or (row.null, row.null) for row, span in zip(rows, found, strict=True)]


def _whole(row: Row, answers: Answers, is_first: bool, is_last: bool) -> tuple[int, int] | None:
    """Return the tokens of the first answer that is a whole in a row, or None."""
    for start, answer in answers:
        end = start + len(answer)
        span = _tokens(row, start, end)
        if span is None:
            continue
        begins = is_first or row.places[0, 0] <= start
        ends = is_last or row.places[-1, 1] >= end
        if begins and ends:
            return span
    return None


def _tokens(row: Row, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and the last token of a row that hold a part of some characters; None where none does."""
    inside = numpy.flatnonzero((row.places[:, 1] > start) & (row.places[:, 0] < end))
    return (row.first + int(inside[0]), row.first + int(inside[-1])) if len(inside) else None
