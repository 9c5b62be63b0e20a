"""The files of a model's folder: damaged, in parts, or of a kind that cannot be fine-tuned, each in one sentence."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as hf

from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.errors import BadData
from luthier.trials.model.auto_classes import check_kind
from luthier.trials.model.folder import model_folder
from luthier.trials.tasks.registry import task_code
from tests.support.architectures import ARCHITECTURES
from tests.support.model_folders import WEIGHTS, configure, put, shards


def cut(folder: Path, keep: float) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(len(data) * keep)])


def header(folder: Path, content: bytes, size: int | None = None) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(content) if size is None else size) + content)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 90000000\n"
SPLIT_INDEX = f"{WEIGHTS}.index.json"

REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    # safetensors
    "shards without index": (
        lambda f: (shards(f, None), (f / SPLIT_INDEX).unlink()),
        "{} holds parts of the weights (model-00001-of-00002.safetensors) without model.safetensors.index.json, which "
        "says what is in the 2 parts; fetch it from where they came, or save the model again.",
    ),
    "a shard is missing": (
        lambda f: shards(f, "model-00002-of-00002.safetensors"),
        "{} lacks the weights file model-00002-of-00002.safetensors its index names; fetch it again.",
    ),
    "an index without files": (
        lambda f: shards(f, None, {"weight_map": {}}),
        "{}: model.safetensors.index.json names no weights file (weight_map); fetch it again.",
    ),
    "an index of another kind": (
        lambda f: shards(f, None, ["model-00001-of-00002.safetensors"]),
        "{}/model.safetensors.index.json is not a JSON object; save the model anew.",
    ),
    "an index that leads out": (
        lambda f: shards(f, None, {"weight_map": {"a": "../model.safetensors"}}),
        "{} lacks the weights file ../model.safetensors its index names; fetch it again.",
    ),
    "cut off": (
        lambda f: cut(f, 0.5),
        "{}/model.safetensors is cut off: SIZE bytes are there; fetch it again.",
    ),
    "cut off in its header": (
        lambda f: cut(f, 0.005),
        "{}/model.safetensors is no safetensors file, or its beginning is damaged; fetch it again, or save the model "
        "again.",
    ),
    "no bytes": (lambda f: cut(f, 0), "{}/model.safetensors is empty; fetch it again, or save the model again."),
    "a pointer": (
        lambda f: put(f, WEIGHTS, text=POINTER),
        "{}/model.safetensors is a pointer of Git LFS; run git lfs pull in the folder.",
    ),
    "a configuration that is a pointer": (
        lambda f: put(f, "config.json", text=POINTER),
        "{}/config.json is a pointer of Git LFS; run git lfs pull in the folder.",
    ),
    "cut off beside an index": (
        lambda f: (
            shutil.copy(f / WEIGHTS, f / "kept"),
            shards(f, None),
            (f / "kept").rename(f / WEIGHTS),
            cut(f, 0.5),
        ),
        "{}/model.safetensors is cut off: SIZE bytes are there; fetch it again.",
    ),
    "both a file and parts": (
        lambda f: (shutil.copy(f / WEIGHTS, f / "kept"), shards(f, None), (f / "kept").rename(f / WEIGHTS)),
        "{} holds both model.safetensors and an index of parts (model.safetensors.index.json), and only one can be "
        "meant: remove the other, with its parts.",
    ),
    "bytes behind its end": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"<html>"),
        "{}/model.safetensors has 6 bytes more than its header names; fetch it again.",
    ),
    "a page": (
        lambda f: put(f, WEIGHTS, text="<!doctype html><html><body>Sign in</body></html>"),
        "{}/model.safetensors is no safetensors file, or its beginning is damaged; fetch it again, or save the model "
        "again.",
    ),
    "a header of another kind": (
        lambda f: header(f, b"[1, 2]"),
        "{}/model.safetensors is no safetensors file, or its beginning is damaged; fetch it again, or save the model "
        "again.",
    ),
    "a huge header": (
        lambda f: header(f, b"{}", size=2**62),
        "{}/model.safetensors is no safetensors file, or its beginning is damaged; fetch it again, or save the model "
        "again.",
    ),
    # configurations
    "bitsandbytes": (
        lambda f: configure(f, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "{} is quantized (by bitsandbytes, as its config.json says): its weights are rounded and cannot be "
        "fine-tuned; choose the original model that it was made of.",
    ),
    "GPTQ": (
        lambda f: configure(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        "{} is quantized (by gptq",
    ),
    "AWQ": (lambda f: configure(f, quantization_config={"quant_method": "awq"}), "{} is quantized (by awq, as its"),
    "MLX": (lambda f: configure(f, quantization={"group_size": 64, "bits": 4}), "{} is quantized (by MLX, as its"),
    "code of its own": (
        lambda f: configure(f, model_type="own", auto_map={"AutoModel": "own.Model"}),
        "{} needs code of its own (auto_map in config.json), which is never run; choose another model.",
    ),
    "code of its own for a kind that is known": (
        lambda f: configure(f, auto_map={"AutoModel": "own.Model"}),
        "{} needs code of its own (auto_map in config.json), which is never run; remove auto_map from config.json to "
        "use the code for bert in transformers, or choose another model.",
    ),
    "a processor with code of its own": (
        lambda f: configure(f, "preprocessor_config.json", auto_map={"AutoImageProcessor": "own.Processor"}),
        "{} needs code of its own (auto_map in preprocessor_config.json), which is never run; choose another model.",
    ),
    "a newer kind": (
        lambda f: configure(f, model_type="bert9"),
        f"{{}} is of the type bert9, which transformers {hf.__version__} on this worker does not know; install a newer "
        "transformers there (pip install -U transformers), or choose another model.",
    ),
    "no kind": (
        lambda f: configure(f, model_type=None),
        "{}: its config.json has no model_type, so nobody can tell what the model is; save the model anew.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_cannot_be_used_gets_one_sentence(copy: Path, kind: str) -> None:
    change, said = REFUSED[kind]
    whole = (copy / WEIGHTS).stat().st_size
    change(copy)
    said = said.replace("{}", str(copy)).replace("SIZE", f"{whole // 2} of {whole}")
    with pytest.raises(BadData) as refused:
        model_folder(str(copy))
    assert refused.value.path == ["model"]
    if said.endswith("."):
        assert refused.value.message == said
    else:
        assert refused.value.message.startswith(said)


def test_a_kind_without_a_class_for_the_task_says_what_it_can_do(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData) as refused:
        task_code("image-classification").check(copy, "m")
    put(copy, "preprocessor_config.json", text=(_processor(tmp_path)).read_text())
    with pytest.raises(BadData) as refused:
        task_code("image-classification").load(copy, "models/m", ClassTargets(("a", "b")))
    assert refused.value.message == (
        "models/m is a model of the type bert, which cannot be used for image-classification: it can be used for "
        "text-classification and token-classification and question-answering and text-regression and "
        "text-multilabel-classification and text-generation; choose another model."
    )
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(BadData, match=r"models/m is a model of the type bert.*image-segmentation"):
        check_kind("image-segmentation", copy, "models/m")  # before its missing processor is
    hf.VitsConfig().save_pretrained(copy)
    with pytest.raises(BadData, match="type vits, which cannot be used for text-classification: choose another"):
        task_code("text-classification").load(copy, "models/m", ClassTargets(("a", "b")))


def _processor(folder: Path) -> Path:
    folder = ARCHITECTURES["vit"].build(folder / "vit")
    return folder / "preprocessor_config.json"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_attention_heads": 5}, r"\(32\) is not a multiple of the number of attention heads"),
        ({"hidden_size": "many"}, "its config.json cannot be used: "),
        ({"hidden_act": "nonesuch"}, "cannot be loaded for this task: .*nonesuch"),
    ],
)
def test_values_that_no_model_can_have_are_named(copy: Path, values: dict[str, Any], said: str) -> None:
    configure(copy, **values)
    with pytest.raises(BadData, match=said):
        task_code("text-classification").load(copy, str(copy), ClassTargets(("a", "b")))
