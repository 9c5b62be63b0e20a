"""What a folder is that is not a model as `save_pretrained` writes it, in one sentence with the cure.

`folder` asks it when configuration or weights are missing. It knows formats by the names of their files, and reads
no more than an adapter's configuration.
"""

import json
import re

from luthier.trials.model import hub
from luthier.trials.model.contents import Contents

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TENSORFLOW = (
    "tf_model*.h5",
    "*.h5",
    "*.ckpt.index",
    "*.ckpt-*.index",
    "saved_model.pb",
    "*.keras",
    "flax_model*.msgpack",
    "*.msgpack",
)
_ORIGINAL = "choose the original model that it was made of"
_PIECES = (
    ("openvino_model.*", "holds a model for OpenVINO only", _ORIGINAL),
    ("*.distcp", "has its weights in pieces, as FSDP saves them", "join them: accelerate merge-weights FOLDER {place}"),
    (
        "*_optim_states.pt",
        "has its weights in pieces, as DeepSpeed saves them",
        "join them: python {place}/zero_to_fp32.py {place} {place} --safe_serialization",
    ),
    ("*.ot", "holds a model for Rust only", _ORIGINAL),
    ("Manifest.json", "holds a model for Core ML only", _ORIGINAL),
    ("model_optim_rng.pt", "is a checkpoint of Megatron", "convert it to transformers with Megatron's own tools"),
)
"""A file's name, what a folder with it is, and the cure."""
_CHECKPOINT = re.compile(r"(?:checkpoint|epoch|step)[-_]?(\d+)")
_SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")


def sentence(found: Contents) -> str | None:
    """Return what a folder without configuration or weights is, and the cure; None where nothing is known about it."""
    kinds = (
        adapter,
        _pipeline,
        _models_inside,
        _other_safetensors,
        _gguf,
        _gathered,
        _pickled,
        _tensorflow,
        _onnx,
        _other_library,
    )
    return next((text for text in (kind(found) for kind in kinds) if text), None)


def adapter(found: Contents) -> str | None:
    """Say that a folder is an adapter alone, or holds one beside a whole model."""
    file = found.first("adapter_config.json")
    inside = found.first("adapter_config.json", nested=True)
    if file is None and inside and not found.first("model.safetensors*", nested=True):
        return f"{found.name} holds adapters ({inside}), not a whole model: merge one into its base, or give the base."
    if file is None:
        return None
    try:
        base = json.loads((found.folder / file).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        base = None
    merge = (
        "merge the two: load it with peft (AutoPeftModel...from_pretrained), and save what merge_and_unload() returns "
        "with save_pretrained, and the tokenizer, into a new folder"
    )
    if found.first("config.json") and found.first("model.safetensors", "model.safetensors.index.json"):
        return (
            f"{found.name} holds an adapter ({file}) beside the weights of a whole model, and only one of both can be "
            f"meant: remove the adapter's files (adapter_*) to fine-tune the model without it, or {merge}."
        )
    of = f" of {base}" if base else ""
    return f"{found.name} is an adapter{of}, not a whole model: {merge}; or give the base model itself."


def _pipeline(found: Contents) -> str | None:
    if found.first("model_index.json") is None:
        return None
    return (
        f"{found.name} is a pipeline of diffusers (model_index.json), which makes images and classifies nothing; "
        "choose a model for classification."
    )


def _models_inside(found: Contents) -> str | None:
    """Name the model in a folder of this folder: the newest checkpoint, the snapshot of a cache, or what is there."""
    inside = sorted({file.rpartition("/")[0] for file in found.files if file.endswith("/config.json")})
    weights = {
        file.rpartition("/")[0] for file in found.files if file.rpartition("/")[2].startswith("model.safetensors")
    }
    usable = [folder for folder in inside if folder in weights] or inside
    if not usable or (found.first("config.json") and not weights):
        return None
    numbered = [
        (int(match[1]), folder) for folder in usable if (match := _CHECKPOINT.search(folder.rpartition("/")[2]))
    ]
    if numbered:
        newest, best = max(numbered)[1], f"{found.name} holds checkpoints ({len(numbered)}), not a model"
        text = f"{best}: give one of them as the model; the last is {found.place}/{newest}"
    elif len(usable) == 1:
        text = f"{found.name} is not a model, but its folder {usable[0]} is one: give {found.place}/{usable[0]}"
    else:
        some = ", ".join(usable[:5])
        text = (
            f"{found.name} is not a model, but holds several ({some}): give one of them, as {found.place}/{usable[0]}"
        )
    fetch = f", after: {found.fetching()}" if found.on_hub else ""
    return f"{text}{fetch}."


def _other_safetensors(found: Contents) -> str | None:
    """Say which safetensors file is there under a name that no loader looks for."""
    file = found.first("*.safetensors")
    if file is None or found.first("model.safetensors", "model.safetensors.index.json"):
        return None
    if match := _SHARD.fullmatch(file):
        return (
            f"{found.name} holds parts of the weights ({file}) without model.safetensors.index.json, which says what "
            f"is in the {int(match[1])} parts; fetch it from where they came, or save the model again."
        )
    if found.first("config.json") is None:
        return None
    if file.startswith("consolidated"):
        return f"{found.name} has its weights in the format of its authors only ({file}); fetch model.safetensors."
    fetch = f"run: {found.fetching()}, then " if found.on_hub else ""
    return (
        f"{found.name} holds no model.safetensors, but {file}: {fetch}rename it to model.safetensors "
        "if these are the model's weights in the names of transformers."
    )


def _pickled(found: Contents) -> str | None:
    """Say that the weights are pickles, and how they become safetensors."""
    file = found.first("pytorch_model*.bin", *PICKLES)
    if file is None or found.first("*.onnx") == file:
        return None
    only = f"{found.name} has pickled weights only ({file}), which can run code and are never loaded"
    revision = hub.safetensors_revision(found.name) if found.on_hub else None
    if revision:
        fetch = found.fetching(revision)
        return f"{only}. Its revision {revision} has them as safetensors: {fetch}, then give that folder."
    if not file.startswith("pytorch_model"):
        return (
            f"{only}; load it with the library that wrote it, and save the model with save_pretrained, as safetensors."
        )
    fetch = f"{found.fetching()} && " if found.on_hub else ""
    then = ", then give that folder" if found.on_hub else ""
    return f"{only}; this converts them to safetensors without running any: {fetch}{conversion(found.place)}{then}."


def _gathered(found: Contents) -> str | None:
    """Say that the weights lie in pieces as processes trained them, or are compiled for one device."""
    for pattern, what, cure in _PIECES:
        file = found.first(pattern, nested=True)
        if file is not None and found.first("model.safetensors*", "pytorch_model*.bin") is None:
            return f"{found.name} {what} ({file}): {cure.format(place=found.place)}."
    return None


def conversion(folder: str) -> str:
    """Return the command that writes a folder's pickled weights as safetensors beside them."""
    return (
        'python -c "import glob, torch; from safetensors.torch import save_file; '
        f"files = sorted(glob.glob('{folder}/pytorch_model*.bin')); "
        "load = lambda f: torch.load(f, map_location='cpu', weights_only=True); "
        "weights = {k: v.contiguous().clone() for f in files for k, v in load(f).items()}; "
        f"save_file(weights, '{folder}/model.safetensors', {{'format': 'pt'}})\""
    )


def _tensorflow(found: Contents) -> str | None:
    file = found.first(*TENSORFLOW)
    if file is None:
        return None
    flax = file.endswith(".msgpack")
    library, option = ("Flax", "from_flax") if flax else ("TensorFlow", "from_tf")
    if found.first("config.json") is None or not file.startswith(("tf_model", "flax_model")):
        return (
            f"{found.name} holds a model of {library} ({file}), which cannot be trained here; choose the model's "
            "PyTorch version, as safetensors."
        )
    package = "flax jax" if flax else "tensorflow tf-keras"
    return (
        f"{found.name} has weights for {library} only ({file}). To convert them: pip install 'transformers<5' torch "
        f"{package} in an environment of its own; there AutoModel.from_pretrained('{found.place}', {option}=True)"
        ".save_pretrained(FOLDER), and copy the tokenizer's files into FOLDER."
    )


def _gguf(found: Contents) -> str | None:
    file = found.first("*.gguf", "*.ggml", "ggml-*.bin")
    if file is None:
        return None
    return (
        f"{found.name} holds weights in GGUF ({file}), rounded for llama.cpp, which cannot be trained; choose the "
        "original model that it was made of."
    )


def _onnx(found: Contents) -> str | None:
    file = found.first("*.onnx", nested=True)
    if file is None:
        return None
    return (
        f"{found.name} holds a model for ONNX only ({file}), which computes but cannot be trained; choose the original "
        "model that it was exported from."
    )


OTHERS = {
    "modules.json": "a model of sentence-transformers without a transformer's weights",
    "consolidated*": "a model in the format of its authors, not of transformers",
    "params.json": "a model in the format of its authors, not of transformers",
    "*.nemo": "a model of NeMo",
    "open_clip_config.json": "a model of OpenCLIP",
    "meta.json": "a pipeline of spaCy",
    "config.cfg": "a pipeline of spaCy",
    "*.mlpackage": "a model for Core ML",
    "*.mlmodel": "a model for Core ML",
    "*.tflite": "a model for TensorFlow Lite",
    "*.engine": "a model for TensorRT",
    "*.joblib": "a model of scikit-learn",
    "*.tar.gz": "a folder of archives",
    "*.zip": "a folder of archives",
}


def _other_library(found: Contents) -> str | None:
    for pattern, what in OTHERS.items():
        file = found.first(pattern)
        if file is not None:
            cure = "unpack it" if what.endswith("archives") else "choose its version for transformers"
            return f"{found.name} is {what} ({file}): {cure}; a model is a folder as save_pretrained writes it."
    return None
