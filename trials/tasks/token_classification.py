"""Token classification: a tag for each word of a sentence, as for named entities.

A word's tag is learned and predicted at its first token. A sentence longer than `max_length` becomes several inputs, so
that no word is lost: each of its words is trained on, and scored, exactly once.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import transformers

from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.pretrained import check_tokenizer as check
from luthier.trials.tasks import text
from luthier.trials.tasks.metrics import tag_scores
from luthier.trials.tasks.text import collate

__all__ = ["check", "collate", "encode", "load", "scores"]


def load(folder: Path, name: str, label_names: list[str]) -> Pretrained:
    """Tokenizer and token classifier of a checked model folder. Raises BadData."""
    pretrained = text.load(transformers.AutoModelForTokenClassification, folder, name, label_names)
    if not pretrained.processor.is_fast:
        problem = f"{name}: its tokenizer cannot say which word a token is of; save its fast version (tokenizer.json)."
        raise BadData(problem, "model")
    pretrained.processor.truncation_side = "right"
    return pretrained


def encode(pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
    """Token ids in inputs of at most `max_length` tokens, a sentence's one after another; a unit is a word.

    Raises BadData.
    """
    tokenizer, sentences = pretrained.processor, _spaced(pretrained.processor, split.columns["tokens"])
    longest, count = text.longest_input(pretrained, max_length), sum(map(len, sentences))
    found, words = _windows(tokenizer, sentences, longest)
    if sum(map(len, words)) < count:  # a word of characters that the tokenizer drops
        found, words = _windows(tokenizer, _visible(tokenizer, sentences, found, words), longest)
        if sum(map(len, words)) != count:
            raise BadData("The model's tokenizer makes no token of some words; choose another model.", "model")
    kept = [i for i, positions in enumerate(words) if positions]  # not the middle of one long word
    columns = {name: [found[name][i] for i in kept] for name in tokenizer.model_input_names if name in found}
    lengths = [len(ids) for ids in columns["input_ids"]]
    labels = torch.tensor([label for row in split.labels for label in row])
    positions = [list(words[i].values()) for i in kept]
    padding = text.padding(tokenizer, list(columns))
    starts = [0, *accumulate(map(len, sentences))]  # of each sentence's words, however many inputs it became
    return Encoded(columns, padding, labels, lengths, max(lengths), positions, constants={"sentences": starts})


def _windows(tokenizer: Any, sentences: list[list[str]], longest: int) -> tuple[Any, list[dict[int, int]]]:
    """Inputs of at most `longest` tokens, and of each its words: number in the sentence -> its first token's place."""
    found = tokenizer(
        sentences, is_split_into_words=True, truncation=True, max_length=longest, return_overflowing_tokens=True
    )
    words: list[dict[int, int]] = []
    last = (-1, -1)  # sentence and word of the token before
    for i, sentence in enumerate(found["overflow_to_sample_mapping"]):
        words.append({})
        for place, word in enumerate(found.word_ids(i)):
            if word is not None and (sentence, word) != last:
                words[-1][word] = place
                last = (sentence, word)
    return found, words


def _spaced(tokenizer: Any, sentences: list[list[str]]) -> list[list[str]]:
    """Words as they stand in a text: byte-level tokenizers, for one, tell a word by the space before it."""
    words, plain = ["so", "film"], {"add_special_tokens": False}
    if (
        tokenizer(words, is_split_into_words=True, **plain)["input_ids"]
        == tokenizer(" ".join(words), **plain)["input_ids"]
    ):
        return sentences
    return [[f" {word}" for word in words] for words in sentences]


def _visible(tokenizer: Any, sentences: list[list[str]], found: Any, words: list[dict[int, int]]) -> list[list[str]]:
    """The sentences with the unknown token in place of words that have no token."""
    seen = [set[int]() for _ in sentences]
    for sentence, inside in zip(found["overflow_to_sample_mapping"], words, strict=True):
        seen[sentence].update(inside)
    unknown = tokenizer.unk_token or "?"
    return [[w if i in seen[s] else unknown for i, w in enumerate(words)] for s, words in enumerate(sentences)]


def scores(logits: torch.Tensor, encoded: Encoded, label_names: Sequence[str]) -> Metrics:
    """Every metric of the task, from a whole split's logits (words, classes)."""
    return tag_scores(logits, encoded.labels, encoded.constants["sentences"], label_names)
