"""Text-to-text generation: a model with encoder and decoder writes a target from a source (translation, say).

The decoder's inputs are the target's tokens, shifted as the model's own code shifts them. Rows are batched by the
tokens of their sources; the decoder's tokens are padded for themselves, always on the right.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy
import torch

from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import TOKENS, InputLengths, measured_rows
from luthier.trials.data.splits import Split
from luthier.trials.data.text_targets import TextTargets, TranslationTargets
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.model.processors import check_tokenizer
from luthier.trials.tasks import text, written
from luthier.trials.tasks.encoded_tokens import EncodedTokens
from luthier.trials.tasks.learned_tokens import EXACT, LearnedTokens
from luthier.trials.tasks.scoring import NOT_GENERATED, Batch
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_lengths import NO_LIMIT
from luthier.trials.tasks.text_metrics import BLEU, CHRF, ROUGE, text_scores, text_statistics
from luthier.trials.tasks.token_rows import TokenRows, batches, packed
from luthier.trials.tasks.usage import HERE, Usage, source
from luthier.trials.tasks.written_usage import rewrite, rewritten

SOURCES = ("input_ids", "attention_mask")
DECODER = "decoder_input_ids"
"""The inputs of the encoder, and that of the decoder."""


class Text2TextGeneration(LearnedTokens):
    """A model with an encoder and a decoder over token ids; `max_length` is in tokens, of source and target each."""

    name = "text2text-generation"
    targets: ClassVar[type[TextTargets]] = TranslationTargets

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no tokenizer."""
        check_tokenizer(folder, name)

    def load(self, folder: Path, name: str, targets: TextTargets) -> Pretrained:
        """Load tokenizer and model. Raises BadData, also where an output layer is missing."""
        pretrained = text.load(self.name, folder, name, Head())
        written.set_up(pretrained, name)
        model: Any = pretrained.model
        if model.generation_config.decoder_start_token_id is None:
            start = getattr(model.config, "decoder_start_token_id", None)
            model.generation_config.decoder_start_token_id = (
                pretrained.processor.bos_token_id if start is None else start
            )
        if "input_ids" in pretrained.table_sizes:
            pretrained.table_sizes[DECODER] = int(model.get_output_embeddings().weight.shape[0])
        return pretrained

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedTokens:
        """Return the tokens of sources and targets, each cut to `max_length` or what the model can take."""
        tokenizer = pretrained.processor
        room = text.longest_input(pretrained, max_length)
        found = TokenRows(SOURCES)
        labels: list[Any] = []
        sources = split.columns["source"]
        for rows in batches([sources, split.targets]):
            found.add(tokenizer(sources[rows], truncation=True, max_length=room))
            labels += self._labels(pretrained, split.targets[rows], room)
        for name, values in found.columns.items():  # a source of which the tokenizer makes no token
            fill = {"input_ids": tokenizer.pad_token_id}.get(name, 1)
            found.columns[name] = [value if len(value) else packed([fill]) for value in values]
        columns = {**found.columns, DECODER: [_decoder_inputs(pretrained.model, ids) for ids in labels]}
        lengths = [len(ids) for ids in columns["input_ids"]]
        return EncodedTokens(
            columns=columns,
            padding={**text.padding(tokenizer, list(columns)), DECODER: tokenizer.pad_token_id},
            targets={"labels": labels, "first": [0] * len(labels), "texts": list(split.targets)},
            lengths=lengths,
            longest=max(lengths),
            further_lengths={DECODER: [len(ids) for ids in labels]},
            tokenizer=tokenizer,
            room=room,
        )

    def _labels(self, pretrained: Pretrained, texts: Sequence[str], room: int | None = None) -> list[Any]:
        """Return the tokens of targets, with one that ends them; `room`: the most of them."""
        end = written.end_token(pretrained)
        assert end is not None, "the model was loaded with one"
        cut = {"truncation": room is not None, "max_length": room}
        found = pretrained.processor(text_target=list(texts), verbose=False, **cut)["input_ids"]
        return [packed(ids if end in ids else [*ids[: None if room is None else room - 1], end]) for ids in found]

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths:
        """Measure the sources in tokens, and the targets that go with them."""
        rows = measured_rows(len(split))
        some = split.take(rows)
        lengths, learned = list[int](), list[int]()
        for part in batches([some.columns["source"], some.targets]):
            found = pretrained.processor(some.columns["source"][part], truncation=False, verbose=False)["input_ids"]
            lengths += map(len, found)
            learned += map(len, self._labels(pretrained, some.targets[part]))
            poll()
        limit = text.longest_input(pretrained, NO_LIMIT)
        both = numpy.maximum(lengths, learned)
        known = limit if limit < NO_LIMIT else None
        return InputLengths(both, rows, len(split), TOKENS, "pair", limit=known, learned=numpy.array(learned))

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the encoder's ids and masks, each (rows, tokens), and the decoder's ids, (rows, own tokens)."""
        batch = text.collate(replace(encoded, columns={name: encoded.columns[name] for name in SOURCES}), rows)
        ids = encoded.columns[DECODER]
        longest = max(len(ids[row]) for row in rows)
        pad = int(encoded.padding[DECODER])
        batch[DECODER] = torch.tensor([[*ids[row], *[pad] * (longest - len(ids[row]))] for row in rows])
        return batch

    def shifts(self, encoded: Encoded, rows: Sequence[int]) -> Sequence[int]:
        """Return zeros: the decoder's tokens have no padding before them."""
        return [0] * len(rows)

    def generate(self, model: Any, encoded: Encoded, rows: Sequence[int], generation: Generation) -> torch.Tensor:
        """Return the tokens that a model writes from sources, (rows, tokens)."""
        inputs = text.collate(replace(encoded, columns={name: encoded.columns[name] for name in SOURCES}), rows)
        config = _settings(model, generation)
        whole = model.generate(**{k: v.to(model.device) for k, v in inputs.items()}, generation_config=config)
        return written.ended(whole[:, 1:], config)

    def written_statistics(self, said: Sequence[str | None], wanted: Sequence[str]) -> Batch:
        """Return those of BLEU, chrF and ROUGE-L."""
        return text_statistics(said, wanted)

    def scores(self, statistics: Statistics, targets: TextTargets) -> Metrics:
        """Compute those of learned tokens, and BLEU, chrF and ROUGE-L of written texts."""
        units = statistics.units
        found: Metrics = dict.fromkeys((BLEU, CHRF, ROUGE))
        if EXACT in units and bool((chosen := units[EXACT] != NOT_GENERATED).any()):
            found = text_scores({name: units[name][chosen] for name in (BLEU, CHRF, ROUGE)})
        return {**super().scores(statistics, targets), **found}

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: TextTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Save how texts are written, and the longest source with the tokenizer."""
        config = _settings(pretrained.model, generation)
        pretrained.model.generation_config = config
        tokenizer = text.saved_tokenizer(pretrained, max_length)
        return Usage(
            tag=self.name,
            auto="AutoModelForSeq2SeqLM",
            kind="tokenizer",
            processor=tokenizer,
            names=("loss", "text"),
            code=f"""\
from typing import Any

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer


{source(rewrite)}


tokenizer = AutoTokenizer.from_pretrained({HERE!r})
model = AutoModelForSeq2SeqLM.from_pretrained({HERE!r}).eval()
print(rewrite("A source.", tokenizer, model))
""",
            notes=(
                f"The first {tokenizer.model_max_length} tokens of a longer source are read. At most "
                f"{config.max_new_tokens} tokens are written, the most likely ones (`generation_config.json`).",
            ),
            function=rewritten,
        )

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Any:
        """Return a source, with the tokens of the target that its loss is of."""
        one = self.encode(pretrained, examples.take([row]), max_length)
        return {"source": examples.columns["source"][row], "learned": list(one.targets["labels"][0])}


def _settings(model: Any, generation: Generation) -> Any:
    """Return how a model writes: no more than its decoder takes."""
    new = max(1, min(generation.max_new_tokens, text.model_limit(model) - 1))
    return written.settings(model, generation.model_copy(update={"max_new_tokens": new}))


def _decoder_inputs(model: Any, labels: Sequence[int]) -> Any:
    """Return a target's tokens shifted by one as the model's own code shifts them."""
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if shift is None:
        return packed([model.generation_config.decoder_start_token_id, *labels[:-1]])
    return packed(shift(labels=torch.tensor([list(labels)], device=model.device))[0].tolist())
