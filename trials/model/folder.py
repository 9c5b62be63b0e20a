"""The folder of a model: found, or downloaded, and its files checked before any is loaded.

`ModelCache` calls it for every model that it opens. It reads JSON files and the headers of safetensors files only.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from luthier.studies.syntax import json_fault
from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.model import foreign, hub
from luthier.trials.model.contents import Contents
from luthier.trials.paths import check_inside_roots, local_path

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
WITH_CODE = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
"""Files that can name code of the model's own."""
LARGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
PACKED = (
    ".qweight",
    ".qzeros",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".SCB",
    ".absmax",
    ".quant_map",
)
"""Ends of the names that libraries of quantization give to tensors."""
POINTER = b"version https://git-lfs"


def model_folder(name: str) -> Path:
    """Return the local folder of a model, and check its files. A model of the hub is downloaded first.

    Args:
        name: A path or a hub id, as the spec gives it.

    Raises:
        BadData: There is no such model, it lies outside the data roots, or it would need pickles or remote code.
    """
    local = local_path(name, "model")
    folder = local or hub.download(name)
    if local and not folder.is_dir():
        cure = "unpack it and give the folder" if name.endswith((".tar.gz", ".tgz", ".zip")) else "give its folder"
        raise BadData(f"{name} is a file; a model is a folder as written by save_pretrained: {cure}.", "model")
    for file in folder.iterdir() if local else ():
        check_inside_roots(file.resolve(), f"{name}/{file.name}", "model")  # a link may lead out of the folder
    weights = any((folder / file).is_file() for file in (WEIGHTS, INDEX))
    if not weights or not (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        _refuse(Contents.of(name, folder, on_hub=local is None), weights)
    _check_configuration(folder, name)
    _check_weights(folder, name)
    return folder


def read_json(file: Path, name: str) -> Mapping[str, Any]:
    """Return the object in one of a model's JSON files.

    Args:
        file: Its path.
        name: The model's name, for messages.

    Raises:
        BadData: It is missing, or holds no JSON object.
    """
    try:
        text = file.read_text(encoding="utf-8")
        _check_pointer(text[: len(POINTER)].encode(), file, name)
        content = json.loads(text)
    except FileNotFoundError:
        raise BadData(f"{name} holds no {file.name}; save the model with save_pretrained.", "model") from None
    except OSError as error:
        raise BadData(f"{name}/{file.name} cannot be read: {error.strerror}. Save the model anew.", "model") from None
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name}/{file.name} is no JSON: {json_fault(error)}. Save the model anew.", "model") from None
    if not isinstance(content, dict):
        raise BadData(f"{name}/{file.name} is not a JSON object; save the model anew.", "model")
    return content


def configuration(folder: Path, name: str) -> Any:
    """Return a model's configuration, an object of its kind's class in transformers.

    Args:
        folder: The model's folder.
        name: The model's name, for messages.

    Raises:
        BadData: A value in it cannot be.
    """
    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # values of a wrong kind surface as whatever its class raises
        reason = one_line(error).rstrip(".")
        text = f"{name}: its config.json cannot be used: {reason}. Correct it, or save the model anew."
        raise BadData(text, "model") from None


def check_readable(folder: Path, name: str) -> None:
    """Find out why something could not be loaded: the configuration is wrong, or a file is a pointer of Git LFS.

    Raises:
        BadData: It was one of both.
    """
    configuration(folder, name)
    for file in sorted(folder.iterdir()):
        if file.is_file():
            with file.open("rb") as opened:
                _check_pointer(opened.read(len(POINTER)), file, name)


def _check_pointer(start: bytes, file: Path, name: str) -> None:
    """Raise BadData where a file begins as a pointer of Git LFS does."""
    if start.startswith(POINTER):
        raise BadData(f"{name}/{file.name} is a pointer of Git LFS; run git lfs pull in the folder.", "model")


def _refuse(found: Contents, weights: bool) -> None:
    """Raise BadData with what a folder is that lacks configuration or weights, or holds an adapter."""
    text = foreign.sentence(found)
    if text is None and (found.folder / "config.json").is_file():
        text = f"{found.name} holds no weights (model.safetensors); check the folder, or save the model again."
    if text is None:
        part = "weights, but no" if weights else "no"
        text = f"{found.name} holds {part} config.json; save the model with save_pretrained."
    raise BadData(text, "model")


def _check_configuration(folder: Path, name: str) -> None:
    """Raise BadData for a model that is rounded, needs code of its own, or is of a kind that is not known here."""
    contents = {part: read_json(folder / part, name) for part in WITH_CODE if (folder / part).is_file()}
    config = contents["config.json"]
    kind = config.get("model_type")
    timm = "architecture" in config
    known = timm or kind in transformers.CONFIG_MAPPING
    for part, content in contents.items():
        if "auto_map" in content:
            cure = f"remove auto_map from {part} to use the code for {kind} in transformers, or choose another model"
            cure = cure if known and part == "config.json" else "choose another model"
            text = f"{name} needs code of its own (auto_map in {part}), which is never run; {cure}."
            raise BadData(text, "model")
    rounded = config.get("quantization_config") or config.get("quantization")
    if rounded:
        method = rounded.get("quant_method") if isinstance(rounded, dict) else None
        method = method or ("MLX" if "quantization" in config else "an unknown method")
        text = (
            f"{name} is quantized (by {method}, as its config.json says): its weights are rounded and cannot be "
            "fine-tuned; choose the original model that it was made of."
        )
        raise BadData(text, "model")
    if known:
        return
    if not isinstance(kind, str) or not kind:
        text = f"{name}: its config.json has no model_type, so nobody can tell what the model is; save the model anew."
    else:
        text = (
            f"{name} is of the type {kind}, which transformers {transformers.__version__} on this worker does not "
            "know; install a newer transformers there (pip install -U transformers), or choose another model."
        )
    raise BadData(text, "model")


def _check_weights(folder: Path, name: str) -> None:
    """Raise BadData unless every safetensors file of the weights is there and whole."""
    if (folder / WEIGHTS).is_file():
        _check_safetensors(folder / WEIGHTS, name)
    if not (folder / INDEX).is_file():
        return
    shards = read_json(folder / INDEX, name).get("weight_map")
    if (folder / WEIGHTS).is_file() and isinstance(shards, dict) and {*shards.values()} - {WEIGHTS}:
        text = f"{name} holds both {WEIGHTS} and an index of parts ({INDEX}), and only one can be meant: remove the "
        raise BadData(text + "other, with its parts.", "model")
    if not isinstance(shards, dict) or not shards:
        raise BadData(f"{name}: {INDEX} names no weights file (weight_map); fetch it again.", "model")
    for shard in sorted(set(map(str, shards.values()))):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise BadData(f"{name} lacks the weights file {shard} its index names; fetch it again.", "model")
        _check_safetensors(folder / shard, name)


def _check_safetensors(file: Path, name: str) -> None:
    """Raise BadData where a file is a pointer, cut off, or no safetensors file at all.

    A file holds the size of its header (8 bytes), the header with the place of each tensor, and the tensors.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(max(8, len(POINTER)))
        _check_pointer(start, file, name)
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else LARGEST_HEADER + 1
        opened.seek(8)
        header = opened.read(length) if length <= min(LARGEST_HEADER, size) else b""
    try:
        tensors = {key: tensor for key, tensor in json.loads(header).items() if key != "__metadata__"}
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        rounded = [key for key, tensor in tensors.items() if _is_rounded(key, str(tensor["dtype"]))]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        what = "is empty" if size == 0 else "is no safetensors file, or its beginning is damaged"
        raise BadData(f"{name}/{file.name} {what}; fetch it again, or save the model again.", "model") from None
    if size < end:
        text = f"{name}/{file.name} is cut off: {size} of {end} bytes are there; fetch it again."
        raise BadData(text, "model")
    if size > end:
        text = f"{name}/{file.name} has {size - end} bytes more than its header names; fetch it again."
        raise BadData(text, "model")
    if rounded:
        text = (
            f"{name}: {len(rounded)} of its weights are rounded or packed, such as {rounded[0]} "
            f"({tensors[rounded[0]]['dtype']}), and cannot be fine-tuned; choose the model that it was made of."
        )
        raise BadData(text, "model")


def _is_rounded(key: str, kind: str) -> bool:
    """Return whether a tensor is a quantized weight, by its name or by its type: whole numbers, or floats of a byte."""
    if key.endswith(PACKED):
        return True
    return key.endswith((".weight", ".bias")) and not kind.startswith(("F16", "BF16", "F32", "F64"))
