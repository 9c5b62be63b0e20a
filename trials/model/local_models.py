"""The models on this machine that fit a task: folders near the working directory, and the hub's cache.

`luthier init` suggests one of them. Only configurations are read, no weights.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.studies.task import Task

FOLDERS = (".", "models")
"""Folders of the working directory in which models lie."""
FROM_THE_HUB = {
    "AutoModelForCausalLM": "openai-community/gpt2",
    "AutoModelForSeq2SeqLM": "google-t5/t5-small",
    "AutoModelForImageClassification": "google/vit-base-patch16-224-in21k",
    "AutoModelForSemanticSegmentation": "nvidia/mit-b0",
    "AutoModelForObjectDetection": "PekingU/rtdetr_r18vd",
    "AutoModelForAudioClassification": "facebook/wav2vec2-base",
    "AutoModelForCTC": "facebook/wav2vec2-base",
}
"""The first auto class of a task -> a small model of the hub that is often fine-tuned for it."""
OF_TEXTS = "distilbert/distilbert-base-uncased"
DECODERS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")
"""Auto classes whose models write with a trained decoder."""


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        name: The folder, or the hub's id of a model in its cache.
        bytes: Size of its weights.
    """

    name: str
    bytes: int


def fitting_models(task: Task) -> list[LocalModel]:
    """Return the models here that a task's auto classes load: those that were made for it first, then the smallest."""
    found: list[tuple[bool, LocalModel]] = []
    for name, folder in (*_folders(), *_cached()):
        config = _config(folder)
        sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
        if sizes and any(_is_loaded_by(auto, config) for auto in task.auto):
            found.append((_writes(config) != task.generates, LocalModel(name, sum(sizes))))
    return [model for _, model in sorted(found, key=lambda pair: (pair[0], pair[1].bytes, pair[1].name))]


def hub_model(task: Task) -> str:
    """Return the id of a small model of the hub for a task."""
    return FROM_THE_HUB.get(task.auto[0], OF_TEXTS)


def _is_loaded_by(auto: str, config: dict[str, Any]) -> bool:
    """Return whether an auto class loads models of this configuration's type, with a trained decoder where needed."""
    if auto in DECODERS and not _writes(config):
        return False
    import transformers  # only where a model lies here: it costs seconds

    mapping = getattr(transformers, auto)._model_mapping
    return config.get("model_type") in mapping._model_mapping


def _writes(config: dict[str, Any]) -> bool:
    """Return whether a model was trained to write."""
    names = " ".join(map(str, config.get("architectures") or []))
    return any(part in names for part in ("CausalLM", "LMHead", "ConditionalGeneration", "Seq2Seq"))


def _folders() -> Iterator[tuple[str, Path]]:
    """Yield the folders with a model in them, by the name that a spec would give them."""
    for parent in map(Path, FOLDERS):
        try:
            children = sorted(child for child in parent.iterdir() if (child / "config.json").is_file())
        except OSError:
            continue
        yield from ((child.as_posix(), child) for child in children)


def _cached() -> Iterator[tuple[str, Path]]:
    """Yield the hub's models in its cache, by their ids."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, ValueError, OSError):
        return
    for repository in sorted(repositories, key=lambda one: one.repo_id):
        if repository.repo_type == "model":
            for revision in repository.revisions:
                if "main" in revision.refs:
                    yield repository.repo_id, Path(revision.snapshot_path)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
