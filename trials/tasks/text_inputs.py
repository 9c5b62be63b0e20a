"""Inputs that are texts or pairs of texts, for every task with an answer for each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths, measured_rows
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.processors import check_tokenizer
from luthier.trials.tasks import text
from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.text_augmentation import augmented
from luthier.trials.tasks.text_lengths import measure_texts
from luthier.trials.tasks.token_rows import TokenRows, batches, beginnings
from luthier.trials.tasks.usage import Usage, call

TAG = "text-classification"
"""The pipeline of every model with an answer for a text, be it a class, labels or a number."""


class TextInputs(RowTask[Learned]):
    """A model over token ids; `max_length` is in tokens. A row is an example is a unit."""

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no tokenizer."""
        check_tokenizer(folder, name)

    def load(self, folder: Path, name: str, targets: Learned) -> Pretrained:
        """Load tokenizer and sequence model. Raises BadData."""
        return self.loaded(text.load(self.name, folder, name, self.head(targets)), targets)

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Return token ids, truncated to `max_length` or to what the model can take, if that is less."""
        tokenizer = pretrained.processor
        pairs = split.columns.get("text_pair")
        longest = text.longest_input(pretrained, max_length, pair=pairs is not None)
        texts = [split.columns["text"]] if pairs is None else [split.columns["text"], pairs]
        columns = _tokenized(tokenizer, texts, longest)
        for i, ids in enumerate(columns["input_ids"]):
            if not ids:  # the tokenizer drops every character of this text: the model still needs one token
                for name, values in columns.items():
                    values[i] = [{"input_ids": tokenizer.pad_token_id, "attention_mask": 1}.get(name, 0)]
        lengths = [len(ids) for ids in columns["input_ids"]]
        return Encoded(
            columns=columns,
            padding=text.padding(tokenizer, list(columns)),
            targets=self.encode_targets(split.targets),
            lengths=lengths,
            longest=max(lengths),
        )

    def encode_augmented(self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int) -> Encoded:
        """Return token ids as `encode` does, of which each batch leaves out or masks some. Raises BadData."""
        return augmented(self.encode(pretrained, split, max_length), pretrained, augmentation)

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths:
        """Measure the texts, or pairs of texts, in tokens."""
        rows = measured_rows(len(split))
        columns = [split.columns[role] for role in ("text", "text_pair") if role in split.columns]
        texts = [[column[i] for i in rows] for column in columns]
        return measure_texts(pretrained, texts, rows, len(split), poll)

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return token ids and masks, each (rows, tokens), padded on the side that the split asks for."""
        return text.collate(encoded, rows)

    def export(
        self, pretrained: Pretrained, examples: Split, targets: Learned, max_length: int, generation: Generation
    ) -> Usage:
        """Save the longest input with the tokenizer; `truncation=True` in the pipeline's call applies it."""
        pair = "text_pair" in examples.columns
        reading = self.reading(pretrained, targets, examples, max_length)
        tokenizer = text.saved_tokenizer(pretrained, max_length, pair)
        example = '{"text": "One text.", "text_pair": "The other one."}' if pair else '"A text."'
        names = tuple(self.head(targets).names or ())
        return Usage(
            tag=TAG,
            auto="AutoModelForSequenceClassification",
            kind="tokenizer",
            processor=tokenizer,
            names=names,
            code=f"""\
from transformers import pipeline

{reading.verb} = {call(TAG, {"truncation": True})}
{reading.code(example, len(names))}
""",
            notes=(
                f"`truncation=True` cuts longer texts to the {tokenizer.model_max_length} tokens that the model was "
                "trained and scored with; without it they are read whole, or end in an error.",
                *reading.notes,
            ),
            options={"truncation": True, **reading.options},
        )

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Any:
        """Return a text, or a pair of them by name; the padding token where the tokenizer drops every character."""
        tokenizer = pretrained.processor
        example = {role: examples.columns[role][row] for role in ("text", "text_pair") if role in examples.columns}
        if not tokenizer(*example.values())["input_ids"]:
            return tokenizer.pad_token
        return example if len(example) > 1 else example["text"]


def _tokenized(tokenizer: Any, texts: Sequence[list[str]], longest: int) -> dict[str, list[Any]]:
    """Return the model's inputs of texts, or of pairs of texts, truncated to so many tokens."""
    found = TokenRows(tokenizer.model_input_names)
    for rows in batches(texts):
        made = [beginnings(tokenizer, row, longest) for row in zip(*(column[rows] for column in texts), strict=True)]
        found.add(tokenizer(*map(list, zip(*made, strict=True)), truncation=True, max_length=longest))
    return found.columns
