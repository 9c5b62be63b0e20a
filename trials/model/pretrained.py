"""Pretrained models: found, checked and loaded from safetensors; no pickle and no remote code, ever."""

import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import dropout as draws
from luthier.trials.model.backbone import head_of
from luthier.trials.paths import check_inside_roots, local_path

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_DROPOUT_ATTRIBUTE = re.compile(r"(.*_)?dropout(_p|_prob|_rate)?|(attn|resid|embd|hidden)_?p?drop")


def device() -> torch.device:
    """Where to compute: the visible GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quieten() -> None:
    """Only errors are worth a line in a trial's log: no progress bars, no advice about fresh heads."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def model_folder(name: str) -> Path:
    """The local folder of a model, downloaded first if it is a hub id; checked. Raises BadData."""
    local = local_path(name, "model")
    folder = local or _download(name)
    if not folder.is_dir():
        raise BadData(f"{name} is a file; a model is a folder as written by save_pretrained.", "model")
    config = _json(folder / "config.json", name)
    for file in folder.iterdir() if local else ():
        check_inside_roots(file.resolve(), f"{name}/{file.name}", "model")  # a link may lead out of the folder
    for part, content in (("config.json", config), ("tokenizer_config.json", None)):
        if content is None and (folder / part).exists():
            content = _json(folder / part, name)
        if content and "auto_map" in content:
            text = f"{name} needs code of its own (auto_map in {part}), which is never run; choose another model."
            raise BadData(text, "model")
    _check_weights(folder, name)
    return folder


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"], ignore_patterns=["*/*"]
        )
    except Exception as error:  # the network's errors and the hub's are of many kinds
        reason = one_line(error)
        text = f"{hub_id} is neither a folder on this worker nor a model that could be had from the hub: {reason}"
        raise BadData(text, "model") from None
    return Path(found)


def _json(file: Path, name: str) -> dict[str, Any]:
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
    cure = "load it with a library you trust it to, and save it with save_pretrained"
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = _json(index, name).get("weight_map")
        wanted = set(shards.values()) if isinstance(shards, dict) else {"model.safetensors"}
        for shard in sorted(map(str, wanted)):
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
    """Whether the model is one of timm's, whose one configuration file also says how to prepare images."""
    return "architecture" in _json(folder / "config.json", name)


def check_preprocessor(folder: Path, name: str) -> None:
    """Raise BadData when the model's folder does not say how to turn images or sounds into its inputs."""
    if not any((folder / file).is_file() for file in PREPROCESSORS):
        text = f"{name} holds no {PREPROCESSORS[0]}; save the model's image processor or feature extractor into it."
        raise BadData(text, "model")


def load_preprocessor(auto: Any, folder: Path, name: str) -> Any:
    """What turns images or sounds into a model's inputs, of the class `auto`. Raises BadData."""
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
    """A loaded model that can be set back to its pretrained state without reading a file."""

    model: Any  # a transformers.PreTrainedModel
    processor: Any  # what turns examples into inputs: a tokenizer
    fresh: frozenset[str]  # parameters the checkpoint did not hold: the new head
    pristine: dict[str, torch.Tensor]  # parameters and buffers, on the CPU
    dropout: list[tuple[nn.Module, str, float]]  # module, attribute, the model's own probability
    replaced: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)  # parent, name, its own layer

    def reset(self, seed: int, dropout: float = -1.0) -> nn.Module:
        """Pretrained weights, a head drawn from `seed`, and `dropout` in every dropout layer (-1: the model's own)."""
        self.put_back()
        with torch.no_grad():
            for name, tensor in _tensors(self.model).items():
                tensor.copy_(self.pristine[name])
            torch.manual_seed(seed)
            _draw_fresh(self.model, self.fresh)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        for module, attribute, own in self.dropout:
            setattr(module, attribute, own if dropout < 0 else dropout)
        return self.model  # type: ignore[no-any-return]

    def put_back(self) -> None:
        """Give the model its own layers back where others took their place."""
        while self.replaced:
            parent, name, layer = self.replaced.pop()
            setattr(parent, name, layer)


def load(auto: Any, folder: Path, name: str, label_names: list[str], processor: Any) -> Pretrained:
    """A model of the class `auto` with a head for the labels, in float32 on `device()`. Raises BadData."""
    names = dict(enumerate(label_names))
    try:
        own = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False).id2label
        torch.manual_seed(0)  # where drawing the head anew does not reach, it is at least the same every time
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, info = auto.from_pretrained(
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
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        reason = one_line(error)
        text = f"{name} cannot be loaded for this task: {reason}. Check that the model suits the task."
        raise BadData(text, "model") from None
    parameters, head = {key for key, _ in model.named_parameters()}, head_of(model)
    fresh = set(info["missing_keys"]) | {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    if fresh >= parameters - head:
        raise BadData(f"{name}: its weights fit no layer of {type(model).__name__}; save the model anew.", "model")
    if own != names:  # a head trained for other labels is of no use
        fresh |= head
    model.to(device())
    draws.enable_shortcuts(model)
    pristine = {key: tensor.detach().to("cpu", copy=True) for key, tensor in _tensors(model).items()}
    return Pretrained(model, processor, frozenset(fresh & parameters), pristine, list(_dropouts(model)))


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _draw_fresh(model: Any, fresh: Iterable[str]) -> None:
    """Initialise the fresh parameters as the model's authors do, and no others."""
    for key, parameter in model.named_parameters():
        parameter._is_hf_initialized = key not in fresh
    owners = dict.fromkeys(key.rpartition(".")[0] for key in sorted(fresh))
    for owner in owners:
        model._init_weights(model.get_submodule(owner))


def _dropouts(model: nn.Module) -> Iterable[tuple[nn.Module, str, float]]:
    """Every dropout probability: dropout layers, and numbers such as `attention_dropout` that a forward uses."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            yield module, "p", module.p
            continue
        for attribute, value in vars(module).items():
            if isinstance(value, float) and _DROPOUT_ATTRIBUTE.fullmatch(attribute):
                yield module, attribute, value
