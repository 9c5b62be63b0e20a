"""Token classification: a tag for each word of a sentence, as for named entities.

A word's tag is learned and predicted at its first token. A sentence longer than `max_length` becomes several rows, so
that no word is lost: each word is trained on once, and scored once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import torch
import transformers

from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained, check_tokenizer
from luthier.trials.tasks import text
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.metrics import tag_scores


@dataclass(frozen=True, kw_only=True)
class EncodedSentences(Encoded):
    """Sentences as rows of tokens, and the words of each sentence, which may be spread over several rows.

    Attributes:
        sentence_offsets: The index into `labels` of each sentence's first word, and last the number of words.
    """

    sentence_offsets: Sequence[int]

    @property
    def example_offsets(self) -> Sequence[int]:
        """The same as `sentence_offsets`: an example is a sentence."""
        return self.sentence_offsets

    def labels_of(self, examples: Sequence[int]) -> tuple[torch.Tensor, Self]:
        """Return the indices of some sentences' words, and a split of their labels without inputs."""
        offsets = self.sentence_offsets
        units = torch.cat([torch.arange(offsets[i], offsets[i + 1]) for i in examples])
        sentence_offsets = list(accumulate((offsets[i + 1] - offsets[i] for i in examples), initial=0))
        return units, replace(self, columns={}, labels=self.labels[units], sentence_offsets=sentence_offsets)


class TokenClassification(TaskCode):
    """A token classifier over token ids; `max_length` is in tokens. A row is (part of) a sentence, a unit is a word."""

    name = "token-classification"

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no tokenizer."""
        check_tokenizer(folder, name)

    def load(self, folder: Path, name: str, label_names: list[str]) -> Pretrained:
        """Load tokenizer and token classifier. Raises BadData, also for a tokenizer that cannot tell words apart."""
        pretrained = text.load(transformers.AutoModelForTokenClassification, folder, name, label_names)
        if not pretrained.processor.is_fast:
            raise BadData(
                f"{name}: its tokenizer cannot say which word a token is of; save its fast version (tokenizer.json).",
                "model",
            )
        pretrained.processor.truncation_side = "right"
        return pretrained

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedSentences:
        """Return token ids in rows of at most `max_length` tokens, a sentence's rows one after another.

        Raises:
            BadData: The tokenizer makes no token of some word, not even the unknown one.
        """
        tokenizer = pretrained.processor
        sentences = _spaced(tokenizer, split.columns["tokens"])
        longest = text.longest_input(pretrained, max_length)
        word_count = sum(map(len, sentences))
        tokens, words = _windows(tokenizer, sentences, longest)
        if sum(map(len, words)) < word_count:  # the tokenizer drops every character of some word
            tokens, words = _windows(tokenizer, _visible(tokenizer, sentences, tokens, words), longest)
            if sum(map(len, words)) != word_count:
                raise BadData("The model's tokenizer makes no token of some words; choose another model.", "model")
        windows = [i for i, positions in enumerate(words) if positions]  # without the middle of one long word
        columns = {name: [tokens[name][i] for i in windows] for name in tokenizer.model_input_names if name in tokens}
        lengths = [len(ids) for ids in columns["input_ids"]]
        return EncodedSentences(
            columns=columns,
            padding=text.padding(tokenizer, list(columns)),
            labels=torch.tensor([label for row in split.labels for label in row]),
            lengths=lengths,
            longest=max(lengths),
            positions=[list(words[i].values()) for i in windows],
            sentence_offsets=[0, *accumulate(map(len, sentences))],
        )

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return token ids and masks, each (rows, tokens), padded on the right."""
        return text.collate(encoded, rows)

    def scores(self, logits: torch.Tensor, encoded: Encoded, label_names: Sequence[str]) -> Metrics:
        """Compute entity F1, the words' accuracy, macro F1 over tags and loss from logits (words, classes)."""
        assert isinstance(encoded, EncodedSentences)
        return tag_scores(logits, encoded.labels, encoded.sentence_offsets, label_names)


def _windows(tokenizer: Any, sentences: list[list[str]], longest: int) -> tuple[Any, list[dict[int, int]]]:
    """Tokenize sentences into windows of at most `longest` tokens.

    Returns:
        The tokenizer's output, and for each window the words that begin in it: number in the sentence -> position of
        the word's first token in the window.
    """
    tokens = tokenizer(
        sentences, is_split_into_words=True, truncation=True, max_length=longest, return_overflowing_tokens=True
    )
    words: list[dict[int, int]] = []
    last = (-1, -1)  # sentence and word of the token before
    for i, sentence in enumerate(tokens["overflow_to_sample_mapping"]):
        words.append({})
        for position, word in enumerate(tokens.word_ids(i)):
            if word is not None and (sentence, word) != last:
                words[-1][word] = position
                last = (sentence, word)
    return tokens, words


def _spaced(tokenizer: Any, sentences: list[list[str]]) -> list[list[str]]:
    """Return the words as they stand in a text: a byte-level tokenizer tells a word by the space before it."""
    words = ["so", "film"]
    plain = {"add_special_tokens": False}
    if (
        tokenizer(words, is_split_into_words=True, **plain)["input_ids"]
        == tokenizer(" ".join(words), **plain)["input_ids"]
    ):
        return sentences
    return [[f" {word}" for word in words] for words in sentences]


def _visible(tokenizer: Any, sentences: list[list[str]], tokens: Any, words: list[dict[int, int]]) -> list[list[str]]:
    """Return the sentences with the unknown token in place of words that have no token."""
    with_tokens = [set[int]() for _ in sentences]
    for sentence, inside in zip(tokens["overflow_to_sample_mapping"], words, strict=True):
        with_tokens[sentence].update(inside)
    unknown = tokenizer.unk_token or "?"
    return [
        [word if i in with_tokens[s] else unknown for i, word in enumerate(words)] for s, words in enumerate(sentences)
    ]
