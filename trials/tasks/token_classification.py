"""Token classification: a tag for each word of a sentence, as for named entities.

A word's tag is learned and predicted at its first token. A sentence longer than `max_length` becomes several rows, so
that no word is lost: each word is trained on once, and scored once.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets, TagTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths, measured_rows
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.processors import check_tokenizer
from luthier.trials.tasks import text
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.encoded_sentences import EncodedSentences, encode_sentences, needs_spaces, spaced
from luthier.trials.tasks.export import PREDICTION, SCORE, Cell, as_list, shown
from luthier.trials.tasks.metrics import LABEL, PREDICTED, classification_scores, entity_counts, entity_f1
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.tagged_words import tag_words, tagged
from luthier.trials.tasks.text_augmentation import augmented
from luthier.trials.tasks.text_lengths import measure_texts
from luthier.trials.tasks.usage import HERE, Usage, source

ENTITIES = "entities"
"""Name of the sentences' statistic: how many entities are right, and how many there are."""


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
        return encode_sentences(pretrained, split, max_length)

    def encode_augmented(
        self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int
    ) -> EncodedSentences:
        """Return token ids as `encode` does, of which each batch masks some. Raises BadData."""
        return augmented(self.encode(pretrained, split, max_length), pretrained, augmentation)

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths:
        """Measure the sentences in tokens."""
        rows = measured_rows(len(split))
        sentences = spaced(pretrained.processor, [split.columns["tokens"][i] for i in rows])
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
        options = {"space": " "} if needs_spaces(pretrained.processor) else {}
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
