"""Processors of models, which turn examples into inputs: whether a folder has one, and image and sound processors.

Tasks call it before and while they load a model. `tokens.py` loads tokenizers.
"""

from pathlib import Path
from typing import Any

import transformers

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.model import libraries
from luthier.trials.model.auto_classes import AutoClass
from luthier.trials.model.folder import check_readable, read_json

PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")  # their tokens are bytes or letters


def check_tokenizer(folder: Path, name: str) -> None:
    """Raise BadData when the model's folder holds no tokenizer."""
    settings = folder / "tokenizer_config.json"
    if settings.is_file() and read_json(settings, name).get("tokenizer_class") in WITHOUT_VOCABULARY:
        return
    if not any(next(folder.glob(pattern), None) for pattern in TOKENIZERS):
        text = f"{name} holds no tokenizer ({', '.join(TOKENIZERS)}); save the tokenizer into the same folder."
        raise BadData(text, "model")


def check_preprocessor(folder: Path, name: str) -> None:
    """Raise BadData when the model's folder has no configuration of an image processor or feature extractor."""
    if not any((folder / file).is_file() for file in PREPROCESSORS):
        text = f"{name} holds no {PREPROCESSORS[0]}; save the model's image processor or feature extractor into it."
        raise BadData(text, "model")


def load_preprocessor(auto: AutoClass, folder: Path, name: str) -> Any:
    """Load a model's image processor or feature extractor.

    Args:
        auto: AutoImageProcessor or AutoFeatureExtractor.
        folder: The model's folder.
        name: The model's name, for messages.

    Raises:
        BadData: A library is missing, or the configuration is broken.
    """
    try:
        return auto.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # broken files surface as whatever its own code raises
        check_readable(folder, name)
        libraries.check(error, folder, name, f"its {PREPROCESSORS[0]}")
        reason = one_line(error).rstrip(".")
        if reason.startswith("Unrecognized"):  # what follows is a list of all kinds of models
            reason = f"it names no processor for this task that transformers {transformers.__version__} knows"
        text = f"{name}: its {PREPROCESSORS[0]} cannot be loaded: {reason}. Save the model's own anew."
        raise BadData(text, "model") from None
