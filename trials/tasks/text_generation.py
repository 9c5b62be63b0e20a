"""Text generation: a causal language model learns texts, completions of prompts, or answers in conversations.

What is learned is known by the data: all tokens of a `text`; of `prompt` and `completion` the completion; of `messages`
the last answer. Texts are written greedily or by beams, with a key-value cache.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch

from luthier.studies.results import Batching
from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import TOKENS, InputLengths, measured_rows
from luthier.trials.data.splits import Split
from luthier.trials.data.text_targets import MESSAGES, TEXT, TextTargets
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.model.processors import check_tokenizer
from luthier.trials.tasks import text, written
from luthier.trials.tasks.causal_rows import causal_rows, form_of, turns
from luthier.trials.tasks.encoded_tokens import EncodedTokens
from luthier.trials.tasks.export import PREDICTION, Cell, as_list, shown
from luthier.trials.tasks.learned_tokens import LearnedTokens
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.text_lengths import NO_LIMIT
from luthier.trials.tasks.token_rows import masks
from luthier.trials.tasks.usage import HERE, Usage, call, source
from luthier.trials.tasks.written_usage import continued, read_losses, text_losses

LEAST_ROOM = 2
"""Tokens of the shortest row: one to learn, and one to predict it from."""
CHAT = '[{"role": "user", "content": "A question?"}]'
CODE = """\
from transformers import pipeline

write = {call}
print(write({example})[0]["generated_text"])
"""
TEXT_CODE = """\
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline


{losses}


tokenizer = AutoTokenizer.from_pretrained({folder})
model = AutoModelForCausalLM.from_pretrained({folder}).eval()
print(text_losses("A text.", tokenizer, model, {longest}))
print(pipeline({tag}, model=model, tokenizer=tokenizer)("The beginning of a text"))
"""
"""The code on the cards of models that write answers, and of those that have learned whole texts."""


class TextGeneration(LearnedTokens):
    """A causal language model over token ids; `max_length` is in tokens."""

    name = "text-generation"

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no tokenizer."""
        check_tokenizer(folder, name)

    def load(self, folder: Path, name: str, targets: TextTargets) -> Pretrained:
        """Load tokenizer and model. Raises BadData, also where an output layer or a chat template is missing."""
        pretrained = text.load(self.name, folder, name, Head())
        tokenizer = pretrained.processor
        written.set_up(pretrained, name)
        if targets.form == MESSAGES and not tokenizer.chat_template:
            raise BadData(
                f"{name}: its tokenizer has no chat template, so conversations cannot be written as its text. Choose a "
                "model that was trained for chat, or give the data as prompt and completion.",
                "model",
            )
        tokenizer.truncation_side = "left"  # the end of a prompt is what its completion follows
        return pretrained

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedTokens:
        """Return rows of at most `max_length` tokens: of a longer text several, of a prompt without its start.

        Raises:
            BadData: The model's chat template refuses a conversation.
        """
        room = max(LEAST_ROOM, text.longest_input(pretrained, max_length))
        rows = causal_rows(pretrained, split)
        found = rows.blocks(split, room) if form_of(split) == TEXT else rows.completions(split, room)
        lengths = [len(row) for row in found.ids]
        columns = {"input_ids": found.ids, "attention_mask": masks(lengths)}
        return EncodedTokens(
            columns=columns,
            padding=text.padding(pretrained.processor, list(columns)),
            targets=found.targets,
            lengths=lengths,
            longest=max(lengths),
            tokenizer=pretrained.processor,
            room=room,
            offsets=found.offsets,
        )

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths:
        """Measure texts, prompts with their completions, or conversations, in tokens."""
        numbers = measured_rows(len(split))
        some = split.take(numbers)
        form = form_of(split)
        lengths, learned = causal_rows(pretrained, some).lengths(some, poll)
        limit = text.longest_input(pretrained, NO_LIMIT)
        return InputLengths(
            numpy.array(lengths),
            numbers,
            len(split),
            TOKENS,
            {TEXT: "text", MESSAGES: "conversation"}.get(form, "pair"),
            limit=limit if limit < NO_LIMIT else None,
            kept_whole=form == TEXT,
            learned=None if form == TEXT else numpy.array(learned),
        )

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return token ids and masks, each (rows, tokens), padded on the side that the split asks for."""
        return text.collate(encoded, rows)

    def generate(self, model: Any, encoded: Encoded, rows: Sequence[int], generation: Generation) -> torch.Tensor:
        """Return the tokens that a model writes behind prompts, (rows, tokens); none for texts learned as a whole."""
        if "prompts" not in encoded.targets:
            return torch.empty((len(rows), 0), dtype=torch.long)
        assert isinstance(encoded, EncodedTokens)
        config, room = _settings(model, generation, encoded.room)
        prompts: Any = encoded.targets["prompts"]
        frames: Any = encoded.targets["frames"]
        cut = [frames[row].around(prompts[row], room) or [model.generation_config.pad_token_id] for row in rows]
        return written.continue_prompts(model, cut, config, encoded.batching in (Batching.RIGHT, Batching.LEFT))

    def cells_header(self, targets: TextTargets) -> tuple[str, ...]:
        """Return the text that is written; of texts that are learned as a whole their loss."""
        return ("loss",) if targets.form == TEXT else (PREDICTION,)

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: TextTargets) -> Sequence[Cell]:
        """Return the text of a row; or its loss per token, of a text that is read in parts that of each part."""
        if targets.form != TEXT:
            return super().cells(said, values, targets)
        losses = [shown(part[0]) for part in values]
        return [losses[0] if len(losses) == 1 else as_list(losses)]

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: TextTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Save how texts are written, and with the tokenizer that a long prompt loses its start."""
        longest = max(LEAST_ROOM, text.longest_input(pretrained, max_length))
        config, room = _settings(pretrained.model, generation, longest)
        pretrained.model.generation_config = config
        usage = Usage(
            tag=self.name,
            auto="AutoModelForCausalLM",
            kind="tokenizer",
            processor=text.saved_tokenizer(pretrained, max_length),
            names=("loss",),
            code=TEXT_CODE.format(losses=source(text_losses), folder=repr(HERE), longest=longest, tag=repr(self.name)),
            function=read_losses,
            options={"tokens": longest},
        )
        if targets.form == TEXT:
            return usage
        options = {"return_full_text": False, "tokenizer_encode_kwargs": {"truncation": True, "max_length": room}}
        example = CHAT if targets.form == MESSAGES else '"A prompt"'
        return replace(
            usage,
            names=("loss", "text"),
            code=CODE.format(call=call(self.name, options), example=example),
            notes=(
                f"The last {room} tokens of a longer prompt are read, as in training and in the scores. At most "
                f"{config.max_new_tokens} tokens are written, the most likely ones (`generation_config.json`).",
            ),
            function=continued,
            options={"longest": longest, **options},
        )

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Any:
        """Return a text; or prompts or conversations, each with the tokens of the completion that its loss is of."""
        form = form_of(examples)
        if form == TEXT:
            return examples.columns["text"][row]
        one = self.encode(pretrained, examples.take([row]), max_length)
        prompts: list[Any] = [examples.columns["prompt"][row]] if form != MESSAGES else []
        if form == MESSAGES:
            prompts = [read for read, _ in turns(examples.columns["messages"][row], examples.targets[row])]
        learned = one.targets["labels"]
        return [{"prompt": prompt, "learned": list(ids)} for prompt, ids in zip(prompts, learned, strict=True)]


def _settings(model: Any, generation: Generation, longest: int) -> tuple[Any, int]:
    """Return how a model writes, and the tokens of the longest prompt: together they fit into what the model takes."""
    limit = text.model_limit(model)
    new = max(1, min(generation.max_new_tokens, limit // 2))
    config = written.settings(model, generation.model_copy(update={"max_new_tokens": new}))
    return config, max(1, min(limit - new, longest))
