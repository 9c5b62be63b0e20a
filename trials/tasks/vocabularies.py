"""Vocabularies of models with CTC: the checkpoint's own where it can write the transcripts, else a new one.

`ctc.load` asks for the tokenizer of a model. A vocabulary is token -> id; a token is a letter, or stands for something.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import transformers

from luthier.trials.data.transcripts import DELIMITER
from luthier.trials.model.folder import configuration
from luthier.trials.model.tokens import load_tokenizer

PAD, UNKNOWN = "[PAD]", "[UNK]"
"""The blank of CTC, and letters that training transcripts lack."""
CASES: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper)
"""How the letters of a checkpoint's vocabulary may be written instead."""


def new_vocabulary(letters: Iterable[str]) -> dict[str, int]:
    """Return the vocabulary of a fresh head: the blank of CTC, the unknown letter, the blank of texts, the letters."""
    return {token: i for i, token in enumerate((PAD, UNKNOWN, DELIMITER, *letters))}


def own_tokenizer(folder: Path, name: str, letters: Iterable[str]) -> Any | None:
    """Return the tokenizer of a checkpoint that was trained with CTC, if its letters suffice for the transcripts.

    Capitals are no letters of their own where one side has small ones only: then the tokenizer that is returned writes
    the letters as the transcripts have them, under the same ids.

    Args:
        folder: The model's folder.
        name: The model's name, for messages.
        letters: Of the transcripts, the blank excepted.

    Raises:
        BadData: Its files cannot be read.
    """
    config = configuration(folder, name)
    trained = any(str(kind).endswith("ForCTC") for kind in getattr(config, "architectures", None) or ())
    if not trained or not (folder / "vocab.json").is_file():
        return None
    tokenizer = load_tokenizer(folder, name)
    if not isinstance(tokenizer, transformers.Wav2Vec2CTCTokenizer) or tokenizer.target_lang is not None:
        return None
    vocabulary = vocabulary_of(tokenizer)
    fits = tokenizer.pad_token_id == config.pad_token_id and max(vocabulary.values()) < config.vocab_size
    if not fits or tokenizer.word_delimiter_token not in vocabulary or tokenizer.unk_token not in vocabulary:
        return None
    wanted = set(letters)
    for case in CASES:
        written = {case(token) if len(token) == 1 else token: i for token, i in vocabulary.items()}
        if len(written) == len(vocabulary) and wanted <= written.keys():
            return tokenizer if case is str else tokenizer_of(written, tokenizer)
    return None


def vocabulary_of(tokenizer: Any) -> dict[str, int]:
    """Return a tokenizer's vocabulary, with small letters where it writes them for the capitals that it holds."""
    vocabulary: Mapping[str, int] = tokenizer.encoder
    lower = tokenizer.do_lower_case
    return {token.lower() if lower and len(token) == 1 else token: i for token, i in vocabulary.items()}


def tokenizer_of(vocabulary: Mapping[str, int], other: Any | None = None) -> Any:
    """Return a tokenizer with a vocabulary.

    Args:
        vocabulary: Token -> id.
        other: A tokenizer whose special tokens it has; None: those of `new_vocabulary`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        make: Any = transformers.Wav2Vec2CTCTokenizer
        return make(
            str(file),
            unk_token=UNKNOWN if other is None else other.unk_token,
            pad_token=PAD if other is None else other.pad_token,
            bos_token=None if other is None else other.bos_token,
            eos_token=None if other is None else other.eos_token,
            word_delimiter_token=DELIMITER if other is None else other.word_delimiter_token,
            clean_up_tokenization_spaces=False,
        )


def letter_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text's letters; no part of it stands for anything else."""
    vocabulary = vocabulary_of(tokenizer)
    unknown, delimiter = vocabulary[tokenizer.unk_token], vocabulary[tokenizer.word_delimiter_token]
    return [delimiter if letter == " " else vocabulary.get(letter, unknown) for letter in text]
