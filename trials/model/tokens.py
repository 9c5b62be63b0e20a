"""Tokenizers: loaded, and every id that they make checked against the tables of the model.

Text tasks and `ModelCache` call it. An id beyond a table ends a CPU process in an IndexError, and leaves a GPU process
unusable, so ids are checked on the CPU, in Python's own numbers, before the model sees any.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from luthier.studies.findings import Finding, note, warning
from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.model import libraries
from luthier.trials.model.folder import check_readable

EXCERPT = 60
"""Characters of an example in a sentence."""
CURE = "Save the tokenizer that belongs to the model into its folder, or, where tokens were added to it, call "
CURE += "model.resize_token_embeddings(len(tokenizer)) and save both."


def load_tokenizer(folder: Path, name: str) -> Any:
    """Load a model's tokenizer.

    Args:
        folder: The model's folder.
        name: The model's name, for messages.

    Raises:
        BadData: A library is missing, a file is broken, or there is no vocabulary.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # broken files surface as whatever the tokenizer's own code raises
        check_readable(folder, name)
        if packages := libraries.missing(error, folder, tokenizer=True):
            listed = " ".join(packages)
            fast = ", or save the tokenizer's fast version (tokenizer.json) with the model"
            fast = fast if {"sentencepiece", "protobuf", "tiktoken"} & set(packages) else ""
            text = f"{name}: its tokenizer needs what this worker lacks: run pip install {listed} there{fast}."
            raise BadData(text, "model") from None
        reason = one_line(error).rstrip(".")
        raise BadData(f"{name}: its tokenizer cannot be loaded: {reason}. Save it anew.", "model") from None
    without_meaning = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    if len(tokenizer) <= len(without_meaning):
        text = f"{name}: its tokenizer ({type(tokenizer).__name__}) knows no words, as the file of its vocabulary is "
        raise BadData(text + "missing or has another name; save the tokenizer into the folder again.", "model")
    return tokenizer


def table_sizes(model: PreTrainedModel) -> dict[str, int]:
    """Return the sizes of a model's tables: input name -> the number of ids that it may hold, from 0."""
    sizes = {}
    try:
        words: Any = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # some compute their embeddings from letters
        words = None
    table = getattr(words, "weight", None)
    if isinstance(table, torch.Tensor) and hasattr(model.config.get_text_config(), "vocab_size"):
        sizes["input_ids"] = len(table)
    for module_name, module in model.named_modules():
        if module_name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding):
            sizes["token_type_ids"] = module.num_embeddings
    return sizes


def check_padding(tokenizer: Any, sizes: Mapping[str, int], name: str) -> None:
    """Check that the model knows the token that pads.

    Raises:
        BadData: The tokenizer's padding token has no embedding.
    """
    size = sizes.get("input_ids")
    pad = tokenizer.pad_token_id
    if size is None or (isinstance(pad, int) and 0 <= pad < size):
        return
    raise BadData(
        f"{name}: its tokenizer pads with {tokenizer.pad_token!r} (id {pad}), and the model has {size} embeddings. "
        "Call model.resize_token_embeddings(len(tokenizer)) and save both, or save the tokenizer with a padding token "
        "that the model knows (tokenizer.pad_token = tokenizer.eos_token).",
        "model",
    )


def check_ids(
    tokenizer: Any, columns: Mapping[str, Any], sizes: Mapping[str, int], name: str, split: str, examples: int
) -> None:
    """Check every id of a split.

    Args:
        tokenizer: It made the ids.
        columns: Input name -> ids of each row, without padding.
        sizes: Of the model's tables, from `table_sizes`.
        name: The model's name, for messages.
        split: Its name, for messages.
        examples: The examples of the split; a row is one of them where there are as many rows.

    Raises:
        BadData: An id has no embedding.
    """
    for column, size in sizes.items():
        rows = columns.get(column, ())
        for i, ids in enumerate(rows):
            if None not in ids and (not len(ids) or (max(ids) < size and min(ids) >= 0)):
                continue
            wrong = next(n for n in ids if n is None or not 0 <= n < size)
            place = f"row {i + 1} of the {split} split" if len(rows) == examples else f"the {split} split"
            seen = one_line(tokenizer.decode([n for n in columns["input_ids"][i] if isinstance(n, int) and n >= 0]))
            raise BadData(
                f"{name}: {_told(tokenizer, column, wrong, size)}; first in {place} ({seen[:EXCERPT]!r}). "
                f"{_cure(column)}",
                "model",
            )


def unknown_texts(tokenizer: Any, rows: Sequence[Sequence[int]], name: str) -> list[Finding]:
    """Return the finding on texts of which a tokenizer knows no part; none where they are less than half.

    Args:
        tokenizer: It made the ids.
        rows: The ids of each text, without padding.
        name: The model's name, for messages.
    """
    unknown = tokenizer.unk_token_id
    special = frozenset(tokenizer.all_special_ids)
    count = 0 if unknown is None else sum(unknown in ids and special.issuperset(ids) for ids in rows)
    if 2 * count < len(rows) or not count:
        return []
    message = (
        f"{count:,} of {len(rows):,} training texts are nothing but {tokenizer.unk_token!r} to the tokenizer of {name} "
        f"({type(tokenizer).__name__}), so the model cannot tell one from another."
    )
    cure = (
        "Save the tokenizer that belongs to the model into its folder, or choose a model for the language of the texts."
    )
    return [warning("unknown-texts", message, cure, count)]


def special_texts(tokenizer: Any, texts: Iterable[Any], name: str) -> list[Finding]:
    """Return the finding on texts that hold a special token of a tokenizer in writing; none where there are none.

    Args:
        tokenizer: The model's.
        texts: Training texts, or lists of messages; other values are passed over.
        name: The model's name, for messages.
    """
    if getattr(tokenizer, "split_special_tokens", False):
        return []
    special = [token for token in tokenizer.all_special_tokens if len(token) > 2]
    written = [[token for token in special if token in text] for text in map(_written, texts)]
    count = sum(map(bool, written))
    if not count:
        return []
    held = list(dict.fromkeys(token for tokens in written for token in tokens))
    message = (
        f"{count:,} training texts hold special tokens of {name} in writing ({', '.join(map(repr, held))}), which "
    )
    message += "its tokenizer reads as these tokens and not as text."
    cure = "Remove them, if no such token is meant: those that begin and end a text are added to it."
    return [note("special-tokens-in-texts", message, count, held, cure)]


def _written(value: Any) -> str:
    """Return a text, or the contents of messages; empty for another value."""
    if isinstance(value, list):
        return "\n".join(str(one.get("content", "")) for one in value if isinstance(one, dict))
    return value if isinstance(value, str) else ""


def _told(tokenizer: Any, column: str, wrong: int | None, size: int) -> str:
    """Return which id has no embedding."""
    kind = type(tokenizer).__name__
    if column == "token_type_ids":
        return f"its tokenizer ({kind}) makes the token type {wrong}, and the model has {size} (type_vocab_size)"
    token = None if wrong is None or wrong < 0 else tokenizer.convert_ids_to_tokens(wrong)
    what = "no id for a token" if wrong is None else f"the id {wrong}" + (f" ({token!r})" if token else "")
    return f"its tokenizer ({kind}) makes {what}, and the model has {size} embeddings"


def _cure(column: str) -> str:
    if column == "token_type_ids":
        return (
            "Save the tokenizer that belongs to the model into its folder, or leave token_type_ids out of "
            "model_input_names in its tokenizer_config.json."
        )
    return CURE
