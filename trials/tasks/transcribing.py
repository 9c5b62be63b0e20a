"""Scores of transcripts: word and letter error rates, and the loss, from a few numbers for each sound.

Speech recognition has them, whatever model writes; what was written is kept as code points, so that two models with
different vocabularies can be compared.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.edits import edits
from luthier.trials.tasks.scoring import NO_TOKEN, Batch
from luthier.trials.tasks.statistics import Statistics

WORDS, OF_WORDS, LETTERS, OF_LETTERS = "word_edits", "words", "letter_edits", "letters"
LOSS, SIZE, SAID = "loss", "size", "said"
"""Statistics of a sound beside its edits: its loss, by what this is divided, and the code points of the answer."""
NOT_WRITTEN = -1
"""The edits of a sound for which nothing was written."""
TIMES, FURTHER = 2, 16
"""How much longer than the longest transcript of a split an answer may be, until the file of predictions cuts it."""


@dataclass(frozen=True, kw_only=True)
class EncodedSpeech(Encoded):
    """Sounds as a model's inputs, and their transcripts.

    The targets of a row are `text`, and what the model's loss needs.

    Attributes:
        tokenizer: Makes text of what the model writes.
        width: The most frames, or tokens, of a row; of a sample of a split, those of the split.
        shown: The most letters of an answer that are kept.
    """

    tokenizer: Any
    width: int
    shown: int

    def of(self, name: str, rows: Sequence[int]) -> list[Any]:
        """Return the targets of a name of some rows."""
        values = self.targets[name]
        return [values[row] for row in rows]


def shown_letters(texts: Sequence[str]) -> int:
    """Return how many letters of an answer are kept, for a split with these transcripts."""
    return TIMES * max(map(len, texts)) + FURTHER


class Transcribing(TaskCode[Transcripts]):
    """The scores of a task whose models write transcripts."""

    targets = Transcripts

    def text_statistics(
        self, said: Sequence[str | None], encoded: EncodedSpeech, rows: Sequence[int], loss: Batch
    ) -> Batch:
        """Return the statistics of some answers.

        Args:
            said: The texts that the model wrote; None: nothing was asked of it.
            encoded: The split.
            rows: The rows that the answers are of.
            loss: `LOSS` and `SIZE` of each.
        """
        truths = encoded.of("text", rows)
        found = [edits(one or "", truth) for one, truth in zip(said, truths, strict=True)]
        unknown = torch.tensor([one is None for one in said])
        letters = torch.full((len(rows), encoded.shown), NO_TOKEN, dtype=torch.int32)
        for row, text in enumerate(said):
            points = [ord(letter) for letter in (text or "")[: encoded.shown]]
            letters[row, : len(points)] = torch.tensor(points, dtype=torch.int32)
        return {
            WORDS: torch.tensor([one.words for one in found]).masked_fill(unknown, NOT_WRITTEN),
            OF_WORDS: torch.tensor([one.of_words for one in found]),
            LETTERS: torch.tensor([one.letters for one in found]).masked_fill(unknown, NOT_WRITTEN),
            OF_LETTERS: torch.tensor([one.of_letters for one in found]),
            SAID: letters,
            LOSS: loss[LOSS].double(),
            SIZE: loss[SIZE].double(),
        }

    def badness(self, statistics: Statistics, targets: Transcripts) -> torch.Tensor:
        """Return the word error rate of each sound."""
        units = statistics.units
        return units[WORDS].clamp(min=0).double() / units[OF_WORDS].clamp(min=1)

    def scores(self, statistics: Statistics, targets: Transcripts) -> Metrics:
        """Compute word error rate, character error rate and loss; rates of the sounds that were written."""
        units = statistics.units
        loss = float(units[LOSS].sum() / units[SIZE].sum())
        return {
            "wer": _rate(units[WORDS], units[OF_WORDS]),
            "cer": _rate(units[LETTERS], units[OF_LETTERS]),
            "loss": loss if math.isfinite(loss) else None,
        }

    def truths(self, statistics: Statistics, encoded: Encoded, targets: Transcripts) -> Iterable[str]:
        """Return the transcript of each sound."""
        return iter(encoded.targets["text"])

    def said(self, statistics: Statistics, encoded: Encoded, targets: Transcripts) -> Iterable[str]:
        """Return what was written for each sound, its beginning where it is far longer than any transcript."""
        return ("".join(map(chr, row[row != NO_TOKEN].tolist())) for row in statistics.units[SAID])


def _rate(wrong: torch.Tensor, of: torch.Tensor) -> float | None:
    """Return the sum of edits by the sum of what was said, over the sounds that were written; None without any."""
    written = wrong != NOT_WRITTEN
    return int(wrong[written].sum()) / int(of[written].sum()) if bool(written.any()) else None
