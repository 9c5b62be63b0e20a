"""Question answering: the part of a text that answers a question, or that there is none.

A context longer than `max_length` becomes several rows that overlap; the answer is the best span over all of them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.answer_targets import AnswerTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths, measured_rows
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.model.processors import check_tokenizer
from luthier.trials.tasks import text
from luthier.trials.tasks.answer_spans import SpanLoss, aligned, best_spans, log_likelihoods, reference_spans
from luthier.trials.tasks.base import Loss, TaskCode
from luthier.trials.tasks.encoded_questions import EncodedQuestions, encode_questions
from luthier.trials.tasks.export import PREDICTION, SCORE, Cell, shown
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.squad import best_scores
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_lengths import measure_texts
from luthier.trials.tasks.usage import Usage
from luthier.trials.tasks.windows import usage_in_windows

NAMES = ("LABEL_0", "LABEL_1")
"""The outputs as transformers calls them, so that the head of a checkpoint for this task is kept."""
LEAST_SHARE = 1e-9
"""Of the questions without an answer, so that the log of their share, and of that of the others, is a number."""
STATISTICS = ("exact_match", "f1", "loss", "rows", "answerable", "start", "end")
"""Of a question: the two scores of its answer, the sum of its rows' losses, their number, whether it has an answer, and
the characters of the model's (-1: none)."""
NEAR = 2e-3
"""Two spans whose scores differ less, relative to those above 1, may change places by rounding."""
BEYOND = (
    " A longer context is read in windows that overlap: nothing of it is lost. A question gets at most half of the "
    "tokens then, and what is beyond is cut; the longest question has {longest:,}."
)
TARGETS = ("start", "end", "null", "first", "last", "answerable")


class QuestionAnswering(TaskCode[AnswerTargets]):
    """A model that scores each token as the first and as the last of the answer; `max_length` is in tokens."""

    name = "question-answering"
    targets = AnswerTargets
    outputs = ("start_logits", "end_logits")

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no tokenizer."""
        check_tokenizer(folder, name)

    def load(self, folder: Path, name: str, targets: AnswerTargets) -> Pretrained:
        """Load tokenizer and model. Raises BadData, also for a tokenizer that cannot tell where a token stands."""
        pretrained = text.load(self.name, folder, name, Head(NAMES))
        if not pretrained.processor.is_fast:
            raise BadData(
                f"{name}: its tokenizer cannot say where in a text a token stands; save its fast version "
                "(tokenizer.json).",
                "model",
            )
        pretrained.processor.truncation_side = "right"
        pretrained.model.config.update({"no_answer": targets.unanswerable, **targets.answering.model_dump()})
        return pretrained

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedQuestions:
        """Return token ids in rows of at most `max_length` tokens, a question's rows one after another."""
        return encode_questions(pretrained, split, max_length)

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths:
        """Measure the questions with their contexts, in tokens."""
        rows = measured_rows(len(split))
        columns = [[split.columns[role][i] for i in rows] for role in ("question", "context")]
        found = measure_texts(pretrained, columns, rows, len(split), poll)
        alone = measure_texts(pretrained, columns[:1], rows, len(split), poll)
        return replace(
            found, noun="question-context pair", kept_whole=True, beyond=BEYOND.format(longest=alone.longest)
        )

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return token ids and masks, each (rows, tokens), padded on the side that the split asks for."""
        return text.collate(encoded, rows)

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the targets of `EncodedQuestions`, (rows,) each, and how the rows lie in the padded batch."""
        assert isinstance(encoded, EncodedQuestions)
        found = {name: torch.tensor([encoded.targets[name][i] for i in rows]) for name in TARGETS}
        return found | {
            "length": torch.tensor([encoded.lengths[i] for i in rows]),
            "padding": torch.tensor(text.starts(encoded, rows)),  # on the left
            "longest": torch.tensor(encoded.longest),
            "longest_answer": torch.tensor(encoded.answering.max_answer_length),
        }

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the logits of the rows' own tokens, and 0 behind them: (rows, tokens of the longest row, 2)."""
        return torch.stack(aligned(outputs, targets, int(targets["longest"]), 0.0), -1)

    def loss(self, pretrained: Pretrained, targets: AnswerTargets, training: Encoded, params: Params) -> Loss:
        """Return the cross-entropy of first and last token, over the tokens of each row."""
        return SpanLoss()

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return the best span of each row, its score and the runner-up's, that of no answer, and the loss."""
        logits = aligned(outputs, targets, int(targets["length"].max()), -math.inf)
        return best_spans(*logits, targets) | {"loss": -log_likelihoods(*logits, targets)}

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[Any]]:
        """Return text, place and score of the answer to a question; no text and place where they hang on rounding."""
        assert isinstance(encoded, EncodedQuestions)
        found = self.statistics(answers, encoded, rows)
        best = int(found["score"].argmax())
        start, end, score = int(found["start"][best]), int(found["end"][best]), float(found["score"][best])
        others = found["score"][(found["start"] != start) | (found["end"] != end)]
        rivals = [float(answers["rival"][best]), *others.tolist()]
        values = [(score, encoded.contexts[encoded.question(rows[0])][start:end], start, score)]
        if encoded.no_answer:
            null = float(found["null"].min())
            values.append((null - encoded.answering.null_score_diff_threshold, "", -1, null))
            rivals.append(min(value[0] for value in values))
        highest, answer, place, told = max(values, key=lambda value: value[0])
        if highest - max(rivals) < NEAR * max(1.0, abs(highest)):
            return [[None, None, None if encoded.answering.null_score_diff_threshold else told]]
        return [[answer, place, told]]

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the characters of each row's best span, its score, that of no answer, and the loss."""
        assert isinstance(encoded, EncodedQuestions)
        spans_of_rows = zip(rows, answers["start"].tolist(), answers["end"].tolist(), strict=True)
        characters = torch.tensor([encoded.characters(row, start, end) for row, start, end in spans_of_rows])
        numbers = {name: answers[name].double() for name in ("score", "null", "loss")}
        return {"start": characters[:, 0], "end": characters[:, 1], **numbers}

    def gather(self, columns: Tensors, encoded: Encoded, targets: AnswerTargets) -> Statistics:
        """Return the statistics of the questions: exact match and F1 of each answer, over all of its rows."""
        assert isinstance(encoded, EncodedQuestions)
        found, threshold = [], encoded.answering.null_score_diff_threshold
        for question, (a, b) in enumerate(pairwise(encoded.row_offsets)):
            best = a + int(columns["score"][a:b].argmax())
            start, end = int(columns["start"][best]), int(columns["end"][best])
            if encoded.no_answer and float(columns["null"][a:b].min()) - threshold > float(columns["score"][best]):
                start = end = -1
            right = [text for _, text in encoded.answers[question]]
            said = encoded.contexts[question][start:end] if end > 0 else ""
            loss = float(columns["loss"][a:b].sum())
            found.append((*best_scores(said, right), loss, b - a, bool(right), start, end))
        values = torch.tensor(found, dtype=torch.double)
        return Statistics(dict(zip(STATISTICS, values.unbind(1), strict=True)), {})

    def scores(self, statistics: Statistics, targets: AnswerTargets) -> Metrics:
        """Compute F1, exact match, the share of questions without an answer that get none, and the loss."""
        units = statistics.units
        without = units["answerable"] == 0
        loss = float(units["loss"].sum() / units["rows"].sum())
        return {
            "f1": float(units["f1"].mean()),
            "exact_match": float(units["exact_match"].mean()),
            "no_answer_accuracy": float(units["exact_match"][without].mean()) if without.any() else None,
            "loss": loss if math.isfinite(loss) else None,
        }

    def right(self, statistics: Statistics, targets: AnswerTargets) -> torch.Tensor:
        """Return whether each question's answer is an exact match, (questions,)."""
        return statistics.units["exact_match"] > 0

    def badness(self, statistics: Statistics, targets: AnswerTargets) -> torch.Tensor:
        """Return what each answer lacks of F1 1, and of equals first those of a higher loss."""
        units = statistics.units
        return 1 - units["f1"] + units["loss"].clamp(max=1e3) * 1e-6

    def constant(self, training: Sequence[Any], targets: AnswerTargets) -> Constant:
        """Return that there is no answer; its value is the share of such questions. Told only where there are any."""
        share = sum(not answers for answers in training) / len(training)
        return Constant("(no answer)", min(max(share, LEAST_SHARE), 1 - LEAST_SHARE), told=targets.unanswerable)

    def reference_answers(
        self, reference: Reference, constant: Constant, units: Tensors, targets: AnswerTargets
    ) -> Batch:
        """Return that there is no answer, or the best or the worst answer to each row."""
        return reference_spans(reference, constant.value, units)

    def truths(self, statistics: Statistics, encoded: Encoded, targets: AnswerTargets) -> Iterable[str]:
        """Return the right answer to each question; several with bars between them, none as an empty text."""
        assert isinstance(encoded, EncodedQuestions)
        return (" | ".join(dict.fromkeys(text for _, text in answers)) for answers in encoded.answers)

    def said(self, statistics: Statistics, encoded: Encoded, targets: AnswerTargets) -> Iterable[str]:
        """Return the model's answer to each question; an empty text for none."""
        assert isinstance(encoded, EncodedQuestions)
        places = zip(*(statistics.units[name].long().tolist() for name in ("start", "end")), strict=True)
        return (
            context[start:end] if end > 0 else ""
            for context, (start, end) in zip(encoded.contexts, places, strict=True)
        )

    def cells_header(self, targets: AnswerTargets) -> tuple[str, ...]:
        """Return the answer, and its score, a sum of logits."""
        return (PREDICTION, SCORE)

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: AnswerTargets) -> Sequence[Cell]:
        """Return the answer to a question, which is empty for none, and its score."""
        return [said[0], shown(values[0][-1])]

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: AnswerTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Save the longest input with the tokenizer; the code on the card reads long contexts as the score does."""
        tokenizer = text.saved_tokenizer(pretrained, max_length, pair=True)
        return usage_in_windows(self.name, tokenizer, targets.unanswerable)

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> dict[str, str]:
        """Return a question with its context."""
        return {role: examples.columns[role][row] for role in ("question", "context")}
