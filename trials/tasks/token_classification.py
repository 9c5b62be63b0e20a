"""Token classification: a tag for each word of a sentence, as for named entities.

A word's tag is learned and predicted at its first token. A sentence longer than `max_length` becomes several rows, so
that no word is lost: each word is trained on once, and scored once.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Self

import torch

from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets, TagTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths, measured_rows
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained, check_tokenizer
from luthier.trials.tasks import text
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.export import PREDICTION, SCORE, Cell, as_list, shown
from luthier.trials.tasks.metrics import LABEL, PREDICTED, classification_scores, entity_counts, entity_f1
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.tagged_words import tag_words, tagged
from luthier.trials.tasks.text_augmentation import augmented
from luthier.trials.tasks.text_lengths import measure_texts
from luthier.trials.tasks.token_rows import TokenRows, batches
from luthier.trials.tasks.usage import HERE, Usage, source

ENTITIES = "entities"
"""Name of the sentences' statistic: how many entities are right, and how many there are."""


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


class TokenClassification(Classification):
    """A token classifier over token ids; `max_length` is in tokens. A row is (part of) a sentence, a unit is a word."""

    name = "token-classification"
    targets = TagTargets

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no tokenizer."""
        check_tokenizer(folder, name)

    def load(self, folder: Path, name: str, targets: ClassTargets) -> Pretrained:
        """Load tokenizer and token classifier. Raises BadData, also for a tokenizer that cannot tell words apart."""
        pretrained = text.load(self.name, folder, name, self.head(targets))
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

    def encode_augmented(
        self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int
    ) -> EncodedSentences:
        """Return token ids as `encode` does, of which each batch masks some. Raises BadData."""
        return augmented(self.encode(pretrained, split, max_length), pretrained, augmentation)

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths:
        """Measure the sentences in tokens."""
        rows = measured_rows(len(split))
        sentences = _spaced(pretrained.processor, [split.columns["tokens"][i] for i in rows])
        return measure_texts(pretrained, [sentences], rows, len(split), poll)

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return token ids and masks, each (rows, tokens), padded on the side that the split asks for."""
        return text.collate(encoded, rows)

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return for each word of the rows its class id, and where in the batch its first token is: (words,) each."""
        positions, labels = encoded.targets["positions"], encoded.targets["labels"]
        starts = text.starts(encoded, rows)
        return {
            "labels": torch.tensor([label for i in rows for label in labels[i]]),
            "rows": torch.tensor([row for row, i in enumerate(rows) for _ in positions[i]]),
            "positions": torch.tensor([start + n for i, start in zip(rows, starts, strict=True) for n in positions[i]]),
        }

    def row_classes(self, encoded: Encoded) -> None:
        """Return None: a row has words of many classes."""

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the logits of the words' first tokens, (words, classes)."""
        return outputs["logits"][targets["rows"], targets["positions"]]

    def gather(self, columns: Tensors, encoded: Encoded, targets: ClassTargets) -> Statistics:
        """Return the words' statistics, and for each sentence how many entities are right and how many there are."""
        statistics = super().gather(columns, encoded, targets)
        true, predicted = ([targets.names[i] for i in columns[name].tolist()] for name in (LABEL, PREDICTED))
        sentences = ((true[a:b], predicted[a:b]) for a, b in pairwise(encoded.example_offsets))
        return replace(statistics, examples={ENTITIES: entity_counts(sentences)})

    def scores(self, statistics: Statistics, targets: ClassTargets) -> Metrics:
        """Compute entity F1, the words' accuracy, macro F1 over tags and loss."""
        scores = classification_scores(statistics.units, len(targets.names))
        return {
            "entity_f1": entity_f1(statistics.examples[ENTITIES]),
            "token_accuracy": scores["accuracy"],
            "macro_f1": scores["macro_f1"],
            "loss": scores["loss"],
        }

    def cells_header(self, targets: ClassTargets) -> tuple[str, ...]:
        """Return the tags of the words, and the probability of each."""
        return (PREDICTION, SCORE)

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: ClassTargets) -> Sequence[Cell]:
        """Return the tags of a sentence's words as a list, and their probabilities as another."""
        return [as_list(said), as_list([shown(max(word)) for word in values])]

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: ClassTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Save the longest input with the tokenizer; the code on the card tells words apart as the score does."""
        tokenizer = text.saved_tokenizer(pretrained, max_length)
        options = {"space": " "} if _needs_spaces(pretrained.processor) else {}
        arguments = "".join(f", {name}={value!r}" for name, value in options.items())
        return Usage(
            tag=self.name,
            auto="AutoModelForTokenClassification",
            kind="tokenizer",
            processor=tokenizer,
            names=targets.names,
            code=f"""\
from typing import Any

from transformers import AutoModelForTokenClassification, AutoTokenizer


{source(tag_words)}


tokenizer = AutoTokenizer.from_pretrained({HERE!r})
model = AutoModelForTokenClassification.from_pretrained({HERE!r}).eval()
for word in tag_words(["Anna", "lives", "in", "Rome", "."], tokenizer, model{arguments}):
    print(max(word, key=word.get))
""",
            notes=(
                f"`pipeline({self.name!r}, ...)` works too, but tags tokens, and passes over all behind the first "
                f"{tokenizer.model_max_length} of them. The scores above count words.",
            ),
            function=tagged,
            options=options,
        )

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> list[str]:
        """Return the words of a sentence."""
        words: list[str] = examples.columns["tokens"][row]
        return words


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


def _spaced(tokenizer: Any, sentences: list[list[str]]) -> list[list[str]]:
    """Return the words as they stand in a text."""
    if not _needs_spaces(tokenizer):
        return sentences
    return [[f" {word}" for word in words] for words in sentences]


def _needs_spaces(tokenizer: Any) -> bool:
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
