"""Folders that people take for a model: each is read, or refused in one sentence with its cure."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.errors import BadData
from luthier.trials.model.folder import model_folder
from luthier.trials.tasks.registry import task_code
from tests.support.model_folders import WEIGHTS, configure, put, shards
from tests.support.tiers import a_few


def move(folder: Path, into: str) -> None:
    """Move all files of a folder into a folder in it."""
    files = list(folder.iterdir())
    (folder / into).mkdir(parents=True)
    for file in files:
        file.rename(folder / into / file.name)


def without_weights(folder: Path, *instead: str) -> None:
    (folder / WEIGHTS).unlink()
    put(folder, *instead)


def only(folder: Path, *names: str) -> None:
    for file in folder.iterdir():
        file.unlink()
    put(folder, *names)


def checkpoints(folder: Path) -> None:
    move(folder, "checkpoint-500")
    shutil.copytree(folder / "checkpoint-500", folder / "checkpoint-1500")
    put(folder, "checkpoint-1500/optimizer.pt", "checkpoint-1500/trainer_state.json", "trainer_state.json")


def of_the_cache(folder: Path) -> None:
    move(folder, "snapshots/0123abc")
    put(folder, "refs/main", "blobs/ffff")


def several(folder: Path) -> None:
    move(folder, "german")
    shutil.copytree(folder / "german", folder / "english")


ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "task_type": "SEQ_CLS"}
MERGE = (
    "merge the two: load it with peft (AutoPeftModel...from_pretrained), and save what merge_and_unload() returns "
    "with save_pretrained, and the tokenizer, into a new folder"
)
SPLIT_INDEX = f"{WEIGHTS}.index.json"

REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    # adapters
    "adapter alone": (
        lambda f: (only(f, "adapter_model.safetensors"), configure(f, "adapter_config.json", **ADAPTER)),
        f"{{}} is an adapter of org/base, not a whole model: {MERGE}; or give the base model itself.",
    ),
    "adapter with the base's configuration": (
        lambda f: (without_weights(f, "adapter_model.safetensors"), configure(f, "adapter_config.json", **ADAPTER)),
        f"{{}} is an adapter of org/base, not a whole model: {MERGE}; or give the base model itself.",
    ),
    "adapter with a broken configuration": (
        lambda f: only(f, "adapter_model.bin", "adapter_config.json"),
        f"{{}} is an adapter, not a whole model: {MERGE}; or give the base model itself.",
    ),
    "adapter beside a model": (
        lambda f: (put(f, "adapter_model.safetensors"), configure(f, "adapter_config.json", **ADAPTER)),
        "{} holds an adapter (adapter_config.json) beside the weights of a whole model, and only one of both can be "
        f"meant: remove the adapter's files (adapter_*) to fine-tune the model without it, or {MERGE}.",
    ),
    # folders around a model
    "checkpoints": (
        checkpoints,
        "{} holds checkpoints (2), not a model: give one of them as the model; the last is {}/checkpoint-1500.",
    ),
    "checkpoints beside a configuration": (
        lambda f: (checkpoints(f), put(f, "config.json")),
        "{} holds checkpoints (2), not a model: give one of them as the model; the last is {}/checkpoint-1500.",
    ),
    "cache of the hub": (
        of_the_cache,
        "{} is not a model, but its folder snapshots/0123abc is one: give {}/snapshots/0123abc.",
    ),
    "one folder too high": (
        lambda f: move(f, "final"),
        "{} is not a model, but its folder final is one: give {}/final.",
    ),
    "sentence-transformers of old": (
        lambda f: (move(f, "0_Transformer"), put(f, "modules.json", "1_Pooling/config.json")),
        "{} is not a model, but its folder 0_Transformer is one: give {}/0_Transformer.",
    ),
    "several models": (
        several,
        "{} is not a model, but holds several (english, german): give one of them, as {}/english.",
    ),
    "diffusers": (
        lambda f: only(f, "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
        "{} is a pipeline of diffusers (model_index.json), which makes images and classifies nothing; choose a model "
        "for classification.",
    ),
    # weights in other formats
    "GGUF": (
        lambda f: only(f, "llama.Q4_K_M.gguf"),
        "{} holds weights in GGUF (llama.Q4_K_M.gguf), rounded for llama.cpp, which cannot be trained; choose the "
        "original model that it was made of.",
    ),
    "ONNX": (
        lambda f: without_weights(f, "onnx/model.onnx"),
        "{} holds a model for ONNX only (onnx/model.onnx), which computes but cannot be trained; choose the original "
        "model that it was exported from.",
    ),
    "TensorFlow": (
        lambda f: without_weights(f, "tf_model.h5"),
        "{} has weights for TensorFlow only (tf_model.h5). To convert them: pip install 'transformers<5' torch "
        "tensorflow tf-keras in an environment of its own; there AutoModel.from_pretrained('{}', from_tf=True)"
        ".save_pretrained(FOLDER), and copy the tokenizer's files into FOLDER.",
    ),
    "Flax": (
        lambda f: without_weights(f, "flax_model.msgpack"),
        "{} has weights for Flax only (flax_model.msgpack). To convert them: pip install 'transformers<5' torch "
        "flax jax in an environment of its own; there AutoModel.from_pretrained('{}', from_flax=True)"
        ".save_pretrained(FOLDER), and copy the tokenizer's files into FOLDER.",
    ),
    "TensorFlow of old": (
        lambda f: only(f, "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001", "bert_config.json"),
        "{} holds a model of TensorFlow (bert_model.ckpt.index), which cannot be trained here; choose the model's "
        "PyTorch version, as safetensors.",
    ),
    "Keras": (
        lambda f: only(f, "saved_model.pb", "variables/variables.index"),
        "{} holds a model of TensorFlow (saved_model.pb), which cannot be trained here; choose the model's PyTorch "
        "version, as safetensors.",
    ),
    "OpenVINO": (
        lambda f: without_weights(f, "openvino_model.xml", "openvino_model.bin"),
        "{} holds a model for OpenVINO only (openvino_model.bin): choose the original model that it was made of.",
    ),
    "Rust": (
        lambda f: without_weights(f, "rust_model.ot"),
        "{} holds a model for Rust only (rust_model.ot): choose the original model that it was made of.",
    ),
    "Core ML": (
        lambda f: without_weights(f, "coreml/model.mlpackage/Manifest.json"),
        "{} holds a model for Core ML only (coreml/model.mlpackage/Manifest.json): choose the original model that it "
        "was made of.",
    ),
    "DeepSpeed": (
        lambda f: without_weights(f, "zero_to_fp32.py", "global_step5/zero_pp_rank_0_optim_states.pt"),
        "{} has its weights in pieces, as DeepSpeed saves them (global_step5/zero_pp_rank_0_optim_states.pt): "
        "join them: python {}/zero_to_fp32.py {} {} --safe_serialization.",
    ),
    "FSDP": (
        lambda f: without_weights(f, "pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata"),
        "{} has its weights in pieces, as FSDP saves them (pytorch_model_fsdp_0/__0_0.distcp): join them: accelerate "
        "merge-weights FOLDER {}.",
    ),
    "Megatron": (
        lambda f: without_weights(f, "iter_01/mp_rank_00/model_optim_rng.pt"),
        "{} is a checkpoint of Megatron (iter_01/mp_rank_00/model_optim_rng.pt): convert it to transformers with "
        "Megatron's own tools.",
    ),
    "adapters in checkpoints": (
        lambda f: without_weights(f, "checkpoint-5/adapter_config.json", "checkpoint-5/adapter_model.safetensors"),
        "{} holds adapters (checkpoint-5/adapter_config.json), not a whole model: merge one into its base, or give the "
        "base.",
    ),
    "Lightning": (
        lambda f: only(f, "epoch=3.ckpt"),
        "{} has pickled weights only (epoch=3.ckpt), which can run code and are never loaded; load it with the "
        "library that wrote it, and save the model with save_pretrained, as safetensors.",
    ),
    "a checkpoint's state alone": (
        lambda f: without_weights(f, "optimizer.pt", "training_args.bin", "random_states_0.pkl", "rng_state.pth"),
        "{} holds no weights (model.safetensors); check the folder, or save the model again.",
    ),
    "the authors' format": (
        lambda f: only(f, "params.json", "consolidated.safetensors", "tekken.json"),
        "{} is a model in the format of its authors, not of transformers (consolidated.safetensors): choose its "
        "version for transformers; a model is a folder as save_pretrained writes it.",
    ),
    "spaCy": (
        lambda f: only(f, "meta.json", "config.cfg", "ner/model"),
        "{} is a pipeline of spaCy (meta.json): choose its version for transformers; a model is a folder as "
        "save_pretrained writes it.",
    ),
    "a winner as it came": (
        lambda f: only(f, "model.tar.gz"),
        "{} is a folder of archives (model.tar.gz): unpack it; a model is a folder as save_pretrained writes it.",
    ),
    "another name": (
        lambda f: (f / WEIGHTS).rename(f / "model.fp16.safetensors"),
        "{} holds no model.safetensors, but model.fp16.safetensors: rename it to model.safetensors if these are the "
        "model's weights in the names of transformers.",
    ),
    "empty": (only, "{} holds no config.json; save the model with save_pretrained."),
    "no configuration": (
        lambda f: (f / "config.json").unlink(),
        "{} holds weights, but no config.json; save the model with save_pretrained.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_fine_tuned_gets_one_sentence(copy: Path, kind: str) -> None:
    change, said = REFUSED[kind]
    change(copy)
    said = said.replace("{}", str(copy))
    with pytest.raises(BadData) as refused:
        model_folder(str(copy))
    assert refused.value.path == ["model"]
    if said.endswith("."):
        assert refused.value.message == said
    else:
        assert refused.value.message.startswith(said)


READ: dict[str, Callable[[Path], object]] = {
    "shards": lambda f: shards(f, None),
    "its checkpoints beside it": lambda f: put(f, "checkpoint-500/config.json", "checkpoint-500/model.safetensors"),
    "other formats beside it": lambda f: put(f, "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "a.gguf"),
    "sentence-transformers": lambda f: put(f, "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"),
    "not quantized after all": lambda f: configure(f, quantization_config=None),
}


@pytest.mark.parametrize("kind", READ)
def test_a_model_with_more_beside_it_is_read(model: Path, copy: Path, kind: str) -> None:
    READ[kind](copy)
    names = ClassTargets(("a", "b"))
    expected = task_code("text-classification").load(model, str(model), names).pristine
    loaded = task_code("text-classification").load(model_folder(str(copy)), str(copy), names)
    inherited = expected.keys() - loaded.fresh
    assert all(torch.equal(loaded.pristine[key], expected[key]) for key in inherited)


@pytest.mark.full
@pytest.mark.parametrize("files", a_few(1, [2, 1]))
def test_the_command_for_pickled_weights_makes_a_model_of_them(model: Path, copy: Path, files: int) -> None:
    """Two tensors share memory, as tied weights do, and one is a transposed view."""
    weights = load_file(copy / WEIGHTS)
    (copy / WEIGHTS).unlink()
    query = "encoder.layer.0.attention.self.query.weight"
    weights[query] = weights[query].t().contiguous().t()
    weights["again"] = weights["embeddings.word_embeddings.weight"]
    names = sorted(weights)
    for i in range(files):
        name = "pytorch_model.bin" if files == 1 else f"pytorch_model-{i + 1:05}-of-00002.bin"
        torch.save({key: weights[key] for key in names[i::files]}, copy / name)
    with pytest.raises(BadData, match=r"has pickled weights only \(pytorch_model.*which can run code") as refused:
        model_folder(str(copy))
    python, *arguments = shlex.split(refused.value.message.split("without running any: ")[1].removesuffix("."))
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert model_folder(str(copy)) == copy
    converted, expected = load_file(copy / WEIGHTS), load_file(model / WEIGHTS)
    assert all(torch.equal(converted[key], tensor) for key, tensor in expected.items())


def test_files_are_no_models(copy: Path, tmp_path: Path) -> None:
    put(tmp_path, "model.tar.gz")
    for file, cure in ((copy / WEIGHTS, "give its folder"), (tmp_path / "model.tar.gz", "unpack it and give")):
        with pytest.raises(BadData, match=f"is a file; a model is a folder as written by save_pretrained: {cure}"):
            model_folder(str(file))
