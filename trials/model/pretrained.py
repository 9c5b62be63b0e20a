"""Pretrained models: found, checked and loaded from safetensors. Pickles and remote code are never run.

Tasks load models and processors with it, and `ModelCache` keeps what it returns.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import dropout as draws
from luthier.trials.model.blocks import head_of
from luthier.trials.model.fresh import draw_fresh, dropout_probabilities
from luthier.trials.paths import check_inside_roots, local_path

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


class AutoClass(Protocol):
    """An auto class of transformers, such as AutoModelForSequenceClassification."""

    def from_pretrained(self, *args: Any, **options: Any) -> Any:
        """Load the object that a folder, the only argument, describes."""


def device() -> torch.device:
    """Return the device to compute on: the visible GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quieten() -> None:
    """Make transformers log errors only: no progress bars, no advice about fresh heads."""
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def model_folder(name: str) -> Path:
    """Return the local folder of a model, and check its files. A model of the hub is downloaded first.

    Args:
        name: A path or a hub id, as the spec gives it.

    Raises:
        BadData: There is no such model, it lies outside the data roots, or it would need pickles or remote code.
    """
    local = local_path(name, "model")
    folder = local or _download(name)
    if not folder.is_dir():
        raise BadData(f"{name} is a file; a model is a folder as written by save_pretrained.", "model")
    config = _json(folder / "config.json", name)
    for file in folder.iterdir() if local else ():
        check_inside_roots(file.resolve(), f"{name}/{file.name}", "model")  # a link may lead out of the folder
    contents = {"config.json": config}
    if (folder / "tokenizer_config.json").exists():
        contents["tokenizer_config.json"] = _json(folder / "tokenizer_config.json", name)
    for part, content in contents.items():
        if "auto_map" in content:
            text = f"{name} needs code of its own (auto_map in {part}), which is never run; choose another model."
            raise BadData(text, "model")
    _check_weights(folder, name)
    return folder


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"], ignore_patterns=["*/*"]
        )
    except Exception as error:  # the network's errors and the hub's are of many kinds
        reason = one_line(error)
        text = f"{hub_id} is neither a folder on this worker nor a model that could be had from the hub: {reason}"
        raise BadData(text, "model") from None
    return Path(folder)


def _json(file: Path, name: str) -> Mapping[str, object]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadData(f"{name} holds no {file.name}; save the model with save_pretrained.", "model") from None
    except (OSError, ValueError) as error:
        raise BadData(f"{name}/{file.name} cannot be read: {error}. Save the model anew.", "model") from None
    if not isinstance(content, dict):
        raise BadData(f"{name}/{file.name} is not a JSON object; save the model anew.", "model")
    return content


def _check_weights(folder: Path, name: str) -> None:
    """Raise BadData unless the folder holds every weights file, as safetensors."""
    cure = "load it with a library you trust it to, and save it with save_pretrained"
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = _json(index, name).get("weight_map")
        names = set(shards.values()) if isinstance(shards, dict) else {"model.safetensors"}
        for shard in sorted(map(str, names)):
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise BadData(f"{name} lacks the weights file {shard} its index names; fetch it again.", "model")
    elif not (folder / "model.safetensors").is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
        if pickled:
            text = f"{name} has pickled weights only ({pickled[0]}), which can run code; {cure} as safetensors."
        else:
            text = f"{name} holds no weights (model.safetensors); check the folder, or save the model again."
        raise BadData(text, "model")


def check_tokenizer(folder: Path, name: str) -> None:
    """Raise BadData when the model's folder holds no tokenizer."""
    if not any(next(folder.glob(pattern), None) for pattern in TOKENIZERS):
        text = f"{name} holds no tokenizer ({', '.join(TOKENIZERS)}); save the tokenizer into the same folder."
        raise BadData(text, "model")


def is_timm(folder: Path, name: str) -> bool:
    """Return whether a model is one of timm's, whose one configuration file also says how to prepare images."""
    return "architecture" in _json(folder / "config.json", name)


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
    except ImportError as error:
        reason = one_line(error)
        text = f"{name}: its {PREPROCESSORS[0]} needs a library this worker lacks; install it there: {reason}"
        raise BadData(text, "model") from None
    except Exception as error:  # broken files surface as whatever its own code raises
        reason = one_line(error)
        text = f"{name}: its {PREPROCESSORS[0]} cannot be loaded: {reason}. Save it anew."
        raise BadData(text, "model") from None


@dataclass
class Pretrained:
    """A loaded model that can be reset to its pretrained state without reading a file.

    Attributes:
        model: The model.
        processor: The tokenizer, image processor or feature extractor that turns examples into the model's inputs.
        fresh: Names of the parameters that the checkpoint did not hold: the new head.
        pristine: The pretrained parameters and buffers by name, on the CPU.
        dropout: (module, attribute, the model's own probability) of each dropout probability.
        replaced: (parent, name, own layer) of each layer that an adapter has replaced.
    """

    model: PreTrainedModel
    processor: Any
    fresh: frozenset[str]
    pristine: dict[str, torch.Tensor]
    dropout: list[tuple[nn.Module, str, float]]
    replaced: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)

    def reset(self, seed: int, dropout: float = -1.0) -> PreTrainedModel:
        """Give the model its pretrained weights and a new head; all parameters train, and adapters are gone.

        Args:
            seed: The head is drawn from it.
            dropout: Probability for every dropout layer; negative: each layer's own.

        Returns:
            The model itself.
        """
        self.put_back()
        with torch.no_grad():
            for name, tensor in _tensors(self.model).items():
                tensor.copy_(self.pristine[name])
            torch.manual_seed(seed)
            draw_fresh(self.model, self.fresh)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        for module, attribute, own in self.dropout:
            setattr(module, attribute, own if dropout < 0 else dropout)
        return self.model

    def put_back(self) -> None:
        """Put the model's own layers back in place of adapters."""
        while self.replaced:
            parent, name, layer = self.replaced.pop()
            setattr(parent, name, layer)


def load(auto: AutoClass, folder: Path, name: str, label_names: list[str], processor: Any) -> Pretrained:
    """Load a model with a head for the labels, in float32, on `device()`.

    Args:
        auto: The auto class of the task, such as AutoModelForSequenceClassification.
        folder: The model's folder.
        name: The model's name, for messages.
        label_names: The labels; their order is that of the logits.
        processor: Turns examples into the model's inputs.

    Raises:
        BadData: The model does not suit the task, or its weights do not fit it.
    """
    names = dict(enumerate(label_names))
    try:
        own = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False).id2label
        model, info = _load_with_head(auto, folder, names)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        reason = one_line(error)
        text = f"{name} cannot be loaded for this task: {reason}. Check that the model suits the task."
        raise BadData(text, "model") from None
    parameters = {key for key, _ in model.named_parameters()}
    head = head_of(model)
    fresh = set(info["missing_keys"]) | {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    if fresh >= parameters - head:
        raise BadData(f"{name}: its weights fit no layer of {type(model).__name__}; save the model anew.", "model")
    if own != names:  # a head that was trained for other labels is useless here
        fresh |= head
    model.to(device())
    draws.enable_shortcuts(model)
    pristine = {key: tensor.detach().to("cpu", copy=True) for key, tensor in _tensors(model).items()}
    return Pretrained(model, processor, frozenset(fresh & parameters), pristine, list(dropout_probabilities(model)))


def _load_with_head(auto: AutoClass, folder: Path, names: Mapping[int, str]) -> Any:
    """Load a model with a head for these label names; return it with the report of transformers on its weights."""
    torch.manual_seed(0)  # parameters that `draw_fresh` does not reach are at least the same every time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return auto.from_pretrained(
            folder,
            num_labels=len(names),
            id2label=names,
            label2id={label: i for i, label in names.items()},
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
