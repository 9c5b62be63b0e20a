"""Functions that the tasks on text share: loading of tokenizer and model, batches of token ids.

Text and token classification call them; they hold no state.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.studies.results import Batching
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.model import pretrained as models
from luthier.trials.model import tokens
from luthier.trials.model.pretrained import Head, Pretrained


def load(task: str, folder: Path, name: str, head: Head) -> Pretrained:
    """Load tokenizer and model of a checked folder, set up for padding on the right.

    Args:
        task: The task's name.
        folder: The model's folder.
        name: The model as the user wrote it, for error messages.
        head: What the model's outputs are.

    Raises:
        BadData: Tokenizer or model cannot be loaded, or no token can pad.
    """
    tokenizer = tokens.load_tokenizer(folder, name)
    pretrained = models.load(task, folder, name, head, processor=tokenizer)
    config: Any = pretrained.model.config
    if tokenizer.pad_token is None:  # decoders: the end-of-text token pads; the attention mask hides it
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise BadData(f"{name}: its tokenizer has no padding, end or unknown token; add a pad_token.", "model")
    pretrained.table_sizes = tokens.table_sizes(pretrained.model)
    tokens.check_padding(tokenizer, pretrained.table_sizes, name)
    tokenizer.padding_side = "right"
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        part.pad_token_id = tokenizer.pad_token_id  # decoders look for the last token that is not padding
        part.use_cache = False
    return pretrained


def longest_input(pretrained: Pretrained, max_length: int, pair: bool = False) -> int:
    """Return the most tokens of a row: `max_length`, or what the model can take, if that is less.

    Args:
        pretrained: The model and its tokenizer.
        max_length: The configuration's limit in tokens.
        pair: A row holds two texts, which takes more special tokens.
    """
    tokenizer = pretrained.processor
    room: int = min(max_length, model_limit(pretrained.model), tokenizer.model_max_length)
    least: int = tokenizer.num_special_tokens_to_add(pair=pair) + 1
    return max(room, least)


def saved_tokenizer(pretrained: Pretrained, max_length: int, pair: bool = False) -> Any:
    """Return a copy of the tokenizer whose files say how long inputs are, and on which sides it cuts and pads.

    transformers truncates only where it is asked to (`truncation=True`), then to `model_max_length`. The truncation in
    tokenizer.json is for programs that read that file alone.

    Args:
        pretrained: The model and its tokenizer.
        max_length: The configuration's limit in tokens.
        pair: A row holds two texts.
    """
    tokenizer = copy.deepcopy(pretrained.processor)
    tokenizer.model_max_length = longest = longest_input(pretrained, max_length, pair)
    for side in ("padding_side", "truncation_side"):
        tokenizer.init_kwargs[side] = getattr(tokenizer, side)  # saved only where the base's own files had it
    if tokenizer.is_fast:
        direction = tokenizer.truncation_side
        tokenizer.backend_tokenizer.enable_truncation(longest, strategy="longest_first", direction=direction)
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def padding(tokenizer: Any, names: Sequence[str]) -> dict[str, float]:
    """Return input name -> the value that pads it."""
    own = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    return {name: own.get(name, 0) for name in names}


def model_limit(model: nn.Module) -> int:
    """Return how many tokens the position table holds; RoBERTa's positions begin behind the padding's position."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return 1_000_000
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return limit - int(padding) - 1
    return limit


def padded_length(encoded: Encoded, rows: Sequence[int]) -> int:
    """Return the number of tokens that the rows of a batch are padded to.

    On a machine with a GPU it is rounded up to a multiple of 8, but not beyond the split's longest row, and not where
    padding would change the answers.
    """
    longest = max(encoded.lengths[i] for i in rows)
    if torch.cuda.is_available() and encoded.batching in (Batching.RIGHT, Batching.LEFT):
        return max(longest, min(-(-longest // 8) * 8, encoded.longest))  # tensor cores want multiples of 8
    return longest


def starts(encoded: Encoded, rows: Sequence[int]) -> list[int]:
    """Return the place in the batch of each row's first token: 0, or behind the padding on its left."""
    if encoded.batching is not Batching.LEFT:
        return [0] * len(rows)
    longest = padded_length(encoded, rows)
    return [longest - encoded.lengths[i] for i in rows]


def collate(encoded: Encoded, rows: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the model's inputs, each (rows, tokens), padded to `padded_length` on the side that the split asks for."""
    longest = padded_length(encoded, rows)
    batch = {}
    for name, values in encoded.columns.items():
        paddings = [[encoded.padding[name]] * (longest - len(values[i])) for i in rows]
        if encoded.batching is Batching.LEFT:
            batch[name] = torch.tensor([[*padding, *values[i]] for i, padding in zip(rows, paddings, strict=True)])
        else:
            batch[name] = torch.tensor([[*values[i], *padding] for i, padding in zip(rows, paddings, strict=True)])
    return batch
