"""Weights as people have them: a file that lacks some, renames some, or holds no numbers is read right or refused."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from luthier.studies.protocol import Assignment
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES
from tests.support.model_folders import configure
from tests.support.tiers import a_few

Assign = Callable[..., Assignment]
Weights = dict[str, torch.Tensor]
Change = Callable[[Weights], Weights]


def rewrite(folder: Path, change: Change) -> Path:
    file = folder / "model.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in change(load_file(file)).items()}, file, {"format": "pt"})
    return folder


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT, of two layers."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


def without(part: str) -> Change:
    return lambda weights: {key: tensor for key, tensor in weights.items() if part not in key}


def renamed(old: str, new: str) -> Change:
    return lambda weights: {key.replace(old, new): tensor for key, tensor in weights.items()}


def spoiled(key: str, value: float) -> Change:
    def change(weights: Weights) -> Weights:
        weights[key].view(-1)[-1] = value
        return weights

    return change


def deeper(weights: Weights) -> Weights:
    return weights | {key.replace("layer.1.", "layer.2."): w.clone() for key, w in weights.items() if "layer.1." in key}


QUERY = "encoder.layer.0.attention.self.query.weight"
REFUSED: dict[str, tuple[Change, dict[str, Any], str]] = {
    "a layer is missing": (
        without("layer.1."),
        {},
        "{} lacks 16 weights of BertForSequenceClassification outside of its head, which would be drawn at random: "
        "bert.encoder.layer.1.attention.output.LayerNorm.bias, bert.encoder.layer.1.attention.output.LayerNorm.weight, "
        "bert.encoder.layer.1.attention.output.dense.bias and 13 more. Fetch or save the model again, or correct "
        "config.json if it has fewer layers.",
    ),
    "more layers in the config": (without("nothing"), {"num_hidden_layers": 3}, "lacks 16 weights of .*layer.2."),
    "one bias is missing": (
        without("layer.1.output.dense.bias"),
        {},
        "lacks 1 weights of .*: bert.encoder.layer.1.out",
    ),
    "the embeddings are missing": (without("word_embeddings"), {}, "lacks 1 weights .*embeddings.word_embeddings"),
    "renamed": (
        renamed("attention.self", "attention.own"),
        {},
        r"lacks 12 weights .* The file has others, such as encoder.layer.0.attention.own.key.bias: if names were "
        "changed, change them back.",
    ),
    "a wrapper's prefix": (
        renamed("e", "module.e"),
        {},
        "its weights fit no layer of BertForSequenceClassification; save the model anew. The file has others, such as",
    ),
    "fewer layers in the config": (
        without("nothing"),
        {"num_hidden_layers": 1},
        "holds weights of more layers than its config.json has, which would be left out: encoder.layer.1.att.* and 13 "
        "more. Correct the number of layers in config.json, or load the shortened model and save it with",
    ),
    "more layers in the file": (deeper, {}, "holds weights of more layers than its config.json has"),
    "another vocabulary": (
        without("nothing"),
        {"vocab_size": 130},
        r"1 of its weights have another shape than its config.json says: bert.embeddings.word_embeddings.weight "
        r"\(\[128, 32\] instead of \[130, 32\]\). Correct config.json, or save the model anew.",
    ),
    "another width": (without("nothing"), {"intermediate_size": 32}, "6 of its weights have another shape"),
    "NaN": (
        spoiled(QUERY, math.nan),
        {},
        f"1 of its weights hold NaN or infinite numbers: bert.{QUERY}. Its training must have diverged, or the file",
    ),
    "infinite": (spoiled(QUERY, -math.inf), {}, f"hold NaN or infinite numbers: bert.{QUERY}"),
    "NaN in the pooler": (spoiled("pooler.dense.bias", math.nan), {}, "infinite numbers: bert.pooler.dense.bias"),
    "a wrapper": (
        lambda weights: {f"_orig_mod.{key}": w for key, w in weights.items()},
        {},
        "All names in the file begin with _orig_mod., so a wrapper was saved: save the model inside it.",
    ),
    "zeros": (
        lambda weights: {key: torch.zeros_like(w) for key, w in weights.items()},
        {},
        "16 of its 16 matrices hold zeros only: bert.embeddings.word_embeddings.weight, .* and 13 more. Fetch it again",
    ),
    "bytes": (
        lambda weights: {key: (100 * w).to(torch.int8) if key == QUERY else w for key, w in weights.items()},
        {},
        rf"1 of its weights are rounded or packed, such as {QUERY} \(I8\), and cannot be fine-tuned; choose the model",
    ),
    "floats of a byte": (
        lambda weights: {key: w.to(torch.float8_e4m3fn) if w.dim() == 2 else w for key, w in weights.items()},
        {},
        r"16 of its weights are rounded or packed, such as .* \(F8_E4M3\)",
    ),
    "packed by GPTQ": (
        lambda weights: {key.replace("query.weight", "query.qweight"): w for key, w in weights.items()},
        {},
        "2 of its weights are rounded or packed, such as encoder.layer.0.attention.self.query.qweight",
    ),
    "too large for float32": (
        lambda weights: {key: w.double() * (1e200 if key == QUERY else 1) for key, w in weights.items()},
        {},
        f"infinite numbers: bert.{QUERY}",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_weights_that_are_not_all_there_are_refused_by_name(assign: Assign, copy: Path, kind: str) -> None:
    change, values, said = REFUSED[kind]
    configure(rewrite(copy, change), **values)
    with pytest.raises(BadData, match=said.format(copy)) as refused:
        ModelCache().open(assign(spec={"model": str(copy)}))
    assert refused.value.path == ["model"]
    assert refused.value.message.startswith(str(copy))


READ: dict[str, Change] = {
    "a prefix": lambda weights: {f"bert.{key}": tensor for key, tensor in weights.items()},
    "gamma and beta": lambda weights: {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for key, tensor in weights.items()
    },
    "with a language model's head": lambda weights: {
        **{f"bert.{key}": tensor for key, tensor in weights.items()},
        "cls.predictions.bias": torch.zeros(128),
        "cls.predictions.transform.dense.weight": torch.zeros(32, 32),
    },
    "saved positions": lambda weights: weights | {"embeddings.position_ids": torch.arange(64)[None]},
    "half precision": lambda weights: {key: tensor.half().float() for key, tensor in weights.items()},
    "a table of zeros": lambda weights: {
        key: torch.zeros_like(w) if "token_type" in key else w for key, w in weights.items()
    },
    "huge but finite": spoiled("pooler.dense.weight", 3e38),
}


def load(folder: Path, task: str = "text-classification") -> Pretrained:
    return task_code(task).load(folder, str(folder), ClassTargets(("a", "b")))


@pytest.mark.parametrize("kind", READ)
def test_names_of_other_times_are_read(copy: Path, kind: str) -> None:
    before = load_file(copy / "model.safetensors")
    rewrite(copy, READ[kind])
    if kind in ("half precision", "a table of zeros", "huge but finite"):
        before = load_file(copy / "model.safetensors")
    loaded = load(copy)
    assert loaded.fresh == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(loaded.pristine[f"bert.{key}"], tensor) for key, tensor in before.items())


def test_a_base_without_a_pooler_is_read(copy: Path) -> None:
    loaded = load(rewrite(copy, without("pooler")))
    assert {key for key in loaded.fresh if "classifier" not in key} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }


def test_a_head_for_other_labels_is_drawn_anew_whatever_it_holds(copy: Path) -> None:
    """The weights of a head that is not used may be anything."""
    model = hf.AutoModelForSequenceClassification.from_pretrained(copy, num_labels=3)
    model.classifier.weight.data.fill_(math.nan)
    model.save_pretrained(copy)
    assert load(copy).fresh == {"classifier.weight", "classifier.bias"}


def test_old_names_of_weight_norm_and_a_mask_that_was_left_out_are_read(tmp_path: Path) -> None:
    folder = ARCHITECTURES["wav2vec2"].build(tmp_path / "speech")
    before = load(folder, "audio-classification").pristine
    for old, new in (("original0", "weight_g"), ("original1", "weight_v")):
        rewrite(folder, renamed(f"parametrizations.weight.{old}", new))
    loaded = load(rewrite(folder, without("masked_spec_embed")), "audio-classification")
    assert "wav2vec2.masked_spec_embed" in loaded.fresh
    inherited = before.keys() - loaded.fresh
    assert all(torch.equal(loaded.pristine[key], before[key]) for key in inherited)


def test_tied_weights_need_not_be_saved_twice(tmp_path: Path) -> None:
    """T5 has one table of tokens for encoder, decoder and output."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "vocab_size": 320}
    folder = tmp_path / "t5"
    hf.T5ForConditionalGeneration(hf.T5Config(**sizes, decoder_start_token_id=0)).save_pretrained(folder)
    ARCHITECTURES["roberta"].processor(folder)
    assert "shared.weight" in load_file(folder / "model.safetensors")
    loaded = load(folder)
    assert all(key.startswith("classification_head.") for key in loaded.fresh)


@pytest.mark.parametrize("name", a_few(1, ["resnet", "mobilenet-v2"]))
def test_statistics_of_batch_normalisation_may_not_be_missing(tmp_path: Path, name: str) -> None:
    folder = ARCHITECTURES[name].build(tmp_path / name)
    with pytest.raises(BadData, match=r"lacks \d+ weights of .*running_mean"):
        load(rewrite(folder, without("running_mean")), "image-classification")
    with pytest.raises(BadData, match=r"infinite numbers: .*running_var"):
        folder = ARCHITECTURES[name].build(tmp_path / "again")
        key = next(key for key in load_file(folder / "model.safetensors") if key.endswith("running_var"))
        load(rewrite(folder, spoiled(key, math.inf)), "image-classification")
