"""Encoded sentences: rows of tokens with the place of each word, for tasks that tag words.

`TokenClassification` encodes with it. A sentence that is longer than a row becomes several rows; no word is lost.
"""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Self

from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks import text
from luthier.trials.tasks.token_rows import TokenRows, batches


@dataclass(frozen=True, kw_only=True)
class EncodedSentences(Encoded):
    """Sentences as rows of tokens, and the words of each sentence, which may be spread over several rows.

    The targets of a row are `positions`, the first tokens of its words, ascending, and the words' `labels`.

    Attributes:
        row_offsets: The number of words before each row, and last the number of words.
        sentence_offsets: The number of words before each sentence, and last the number of words.
    """

    row_offsets: Sequence[int]
    sentence_offsets: Sequence[int]

    @property
    def unit_offsets(self) -> Sequence[int]:
        """The same as `row_offsets`: a unit is a word."""
        return self.row_offsets

    @property
    def example_offsets(self) -> Sequence[int]:
        """The same as `sentence_offsets`: an example is a sentence."""
        return self.sentence_offsets

    def sample(self, rows: Sequence[int]) -> Self:
        """Return some of the rows as a smaller split, in which each row is a sentence."""
        sampled = super().sample(rows)
        offsets = _offsets(sampled.targets["positions"])
        return replace(sampled, row_offsets=offsets, sentence_offsets=offsets)


def encode_sentences(pretrained: Pretrained, split: Split, max_length: int) -> EncodedSentences:
    """Return a split's sentences in rows of at most `max_length` tokens, a sentence's rows one after another.

    Args:
        pretrained: A model with a fast tokenizer.
        split: Words under `tokens`; a target is the list of their class ids.
        max_length: In tokens.

    Raises:
        BadData: The tokenizer makes no token of some word, not even the unknown one.
    """
    tokenizer = pretrained.processor
    sentences = spaced(tokenizer, split.columns["tokens"])
    longest = text.longest_input(pretrained, max_length)
    word_count = sum(map(len, sentences))
    tokens, owners, words = _windows(tokenizer, sentences, longest)
    if sum(map(len, words)) < word_count:  # the tokenizer drops every character of some word
        tokens, owners, words = _windows(tokenizer, _visible(tokenizer, sentences, owners, words), longest)
        if sum(map(len, words)) != word_count:
            raise BadData("The model's tokenizer makes no token of some words; choose another model.", "model")
    windows = [i for i, positions in enumerate(words) if positions]  # without the middle of one long word
    columns = {name: [rows[i] for i in windows] for name, rows in tokens.items()}
    lengths = [len(ids) for ids in columns["input_ids"]]
    tags = [split.targets[sentence] for sentence in owners]  # of each window
    positions = [list(words[i].values()) for i in windows]
    return EncodedSentences(
        columns=columns,
        padding=text.padding(tokenizer, list(columns)),
        targets={"positions": positions, "labels": [[tags[i][word] for word in words[i]] for i in windows]},
        lengths=lengths,
        longest=max(lengths),
        row_offsets=_offsets(positions),
        sentence_offsets=_offsets(sentences),
    )


def _offsets(parts: Iterable[Sized]) -> list[int]:
    """Return the number of things before each part, and last the number of all."""
    return [0, *accumulate(map(len, parts))]


def _windows(
    tokenizer: Any, sentences: list[list[str]], longest: int
) -> tuple[dict[str, list[Any]], list[int], list[dict[int, int]]]:
    """Tokenize sentences into windows of at most `longest` tokens.

    Returns:
        The model's inputs, a row a window; the sentence of each window; and for each window the words that begin in it:
        number in the sentence -> position of the word's first token in the window.
    """
    found = TokenRows(tokenizer.model_input_names)
    owners: list[int] = []
    words: list[dict[int, int]] = []
    for rows in batches([sentences]):
        tokens = tokenizer(
            sentences[rows],
            is_split_into_words=True,
            truncation=True,
            max_length=longest,
            return_overflowing_tokens=True,
        )
        found.add(tokens)
        last = (-1, -1)  # sentence and word of the token before
        for i, sentence in enumerate(tokens["overflow_to_sample_mapping"]):
            owners.append(rows.start + sentence)
            words.append({})
            for position, word in enumerate(tokens.word_ids(i)):
                if word is not None and (sentence, word) != last:
                    words[-1][word] = position
                    last = (sentence, word)
    return found.columns, owners, words


def spaced(tokenizer: Any, sentences: list[list[str]]) -> list[list[str]]:
    """Return the words as they stand in a text."""
    if not needs_spaces(tokenizer):
        return sentences
    return [[f" {word}" for word in words] for words in sentences]


def needs_spaces(tokenizer: Any) -> bool:
    """Return whether words need a space before them: a byte-level tokenizer tells a word by it."""
    words = ["so", "film"]
    plain = {"add_special_tokens": False}
    apart = tokenizer(words, is_split_into_words=True, **plain)["input_ids"]
    together = tokenizer(" ".join(words), **plain)["input_ids"]
    return bool(apart != together)


def _visible(
    tokenizer: Any, sentences: list[list[str]], owners: list[int], words: list[dict[int, int]]
) -> list[list[str]]:
    """Return the sentences with the unknown token in place of words that have no token."""
    with_tokens = [set[int]() for _ in sentences]
    for sentence, inside in zip(owners, words, strict=True):
        with_tokens[sentence].update(inside)
    unknown = tokenizer.unk_token or "?"
    return [
        [word if i in with_tokens[s] else unknown for i, word in enumerate(words)] for s, words in enumerate(sentences)
    ]
