"""The libraries that a model needs and this worker lacks, and the packages that bring them.

Libraries name what they miss in many ways, and some name the wrong one: transformers asks for tiktoken where
sentencepiece is missing.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from luthier.studies.text import one_line
from luthier.trials.errors import BadData

PACKAGES = {
    "sentencepiece": "sentencepiece",
    "protobuf": "protobuf",
    "tiktoken": "tiktoken",
    "blobfile": "blobfile",
    "fugashi": "fugashi",
    "ipadic": "ipadic",
    "unidic_lite": "unidic-lite",
    "unidic": "unidic",
    "sudachipy": "sudachipy sudachidict-core",
    "rhoknp": "rhoknp",
    "rjieba": "rjieba",
    "jieba": "jieba",
    "sacremoses": "sacremoses",
    "pythainlp": "pythainlp",
    "phonemizer": "phonemizer",
    "mistral_common": "mistral-common",
    "mistral-common": "mistral-common",
    "google.protobuf": "protobuf",
    "spacy": "spacy",
    "ftfy": "ftfy",
    "emoji": "emoji",
    "nltk": "nltk",
    "torchvision": "torchvision",
    "torchaudio": "torchaudio",
    "timm": "timm",
    "librosa": "librosa",
    "scipy": "scipy",
    "cv2": "opencv-python",
    "numba": "numba",
    "kernels": "kernels",
    "mamba_ssm": "mamba-ssm",
    "causal_conv1d": "causal-conv1d",
    "natten": "natten",
    "detectron2": "detectron2",
}
"""Name in an error's text -> what pip installs."""
_CONVERSION = ("tiktoken", "sentencepiece", "slow tokenizer")


def missing(error: BaseException, folder: Path, tokenizer: bool = False) -> list[str]:
    """Return the packages to install, as pip names them; an empty list where the error has another cause.

    Args:
        error: What the tokenizer, processor or model raised.
        folder: The model's folder.
        tokenizer: It was the tokenizer.
    """
    text = str(error).lower()
    if tokenizer and (folder / "tekken.json").is_file() and not _is_there("mistral_common"):
        return ["mistral-common"]
    if tokenizer and any(word in text for word in _CONVERSION):
        for file in sorted(folder.glob("*.model")):
            needed = ["tiktoken"] if _is_tiktoken(file) else ["sentencepiece", "protobuf"]
            if lacking := [name for name in needed if not _is_there(name)]:
                return lacking
    if not isinstance(error, ImportError) and "install" not in text:
        return []
    named = [name for name in PACKAGES if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w-])", text)]
    packages = [PACKAGES[name] for name in named if not _is_there(name)]
    if "fugashi" in named:
        packages += [PACKAGES[name] for name in _dictionaries(folder) if not _is_there(name)]
    return list(dict.fromkeys(packages))


def check(error: Exception, folder: Path, name: str, part: str) -> None:
    """Raise BadData where a model could not be loaded because a library is missing.

    Args:
        error: What was raised.
        folder: The model's folder.
        name: The model's name, for messages.
        part: What needs the library, as "its tokenizer".
    """
    packages = missing(error, folder)
    if packages:
        text = f"{name}: {part} needs what this worker lacks: run pip install {' '.join(packages)} there."
        raise BadData(text, "model") from None
    if isinstance(error, ImportError):
        text = f"{name}: {part} needs a library this worker lacks; install it there: {one_line(error)}"
        raise BadData(text, "model") from None


def _is_there(library: str) -> bool:
    module = {"protobuf": "google.protobuf", "mistral-common": "mistral_common"}.get(library, library)
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _is_tiktoken(file: Path) -> bool:
    """Return whether a vocabulary is tiktoken's: lines of a token in base64 and its number."""
    with file.open("rb") as opened:
        return re.match(rb"[A-Za-z0-9+/]+=* \d+\s", opened.read(1_000)) is not None


def _dictionaries(folder: Path) -> list[str]:
    """Return the dictionary that a Japanese tokenizer's configuration names; ipadic if it names none."""
    file = folder / "tokenizer_config.json"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return next(([name] for name in ("unidic_lite", "unidic", "ipadic") if f'"{name}"' in text), ["ipadic"])
