"""Checkpoints of pretraining, with heads of their own: only a head for the task and a pooler are drawn."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.errors import BadData
from luthier.trials.model.blocks import head_of
from luthier.trials.model.folder import model_folder
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import BPE, HIDDEN, SPEECH, TEXT
from tests.support.tiny import tiny_tokenizer

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "vocab_size": 128}
VISION = HIDDEN | {"num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 128, "max_position_embeddings": 64}
UNMASKED = SPEECH | {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "vocab_size": 32}

CHECKPOINTS: dict[str, tuple[str, Callable[[], hf.PreTrainedModel]]] = {
    "BERT, masked": ("text", lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT))),
    "BERT without pooler": ("text", lambda: hf.BertModel(hf.BertConfig(**TEXT), add_pooling_layer=False)),
    "BERT, words": ("text", lambda: hf.BertForTokenClassification(hf.BertConfig(**TEXT))),
    "DistilBERT, masked": (
        "text",
        lambda: hf.DistilBertForMaskedLM(
            hf.DistilBertConfig(dim=32, n_heads=2, n_layers=2, hidden_dim=32, vocab_size=128)
        ),
    ),
    "ELECTRA, discriminator": (
        "text",
        lambda: hf.ElectraForPreTraining(hf.ElectraConfig(**TEXT, embedding_size=16)),
    ),
    "ALBERT, masked": ("text", lambda: hf.AlbertForMaskedLM(hf.AlbertConfig(**TEXT, embedding_size=16))),
    "DeBERTa, masked": ("text", lambda: hf.DebertaV2ForMaskedLM(hf.DebertaV2Config(**TEXT))),
    "Funnel with its decoder": (
        "text",
        lambda: hf.FunnelModel(
            hf.FunnelConfig(vocab_size=128, d_model=32, n_head=2, d_head=16, d_inner=32, block_sizes=[1, 1])
        ),
    ),
    "BART, writing": ("text", lambda: hf.BartForConditionalGeneration(hf.BartConfig(**BART))),
    "T5, writing": ("text", lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5, decoder_start_token_id=0))),
    "Llama, writing": ("text", lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**BPE))),
    "Llama, one table": ("text", lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**BPE, tie_word_embeddings=True))),
    "ViT, masked": ("image", lambda: hf.ViTForMaskedImageModeling(hf.ViTConfig(**VISION))),
    "BEiT": ("image", lambda: hf.BeitForMaskedImageModeling(hf.BeitConfig(**VISION, vocab_size=64))),
    "DeiT with a teacher": ("image", lambda: hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**VISION))),
    "CLIP with its texts": (
        "image",
        lambda: hf.CLIPModel(
            hf.CLIPConfig(vision_config=VISION, text_config=TEXT | {"bos_token_id": 1, "eos_token_id": 2})
        ),
    ),
    "wav2vec2, pretraining": (
        "audio",
        lambda: hf.Wav2Vec2ForPreTraining(hf.Wav2Vec2Config(**SPEECH, codevector_dim=16, proj_codevector_dim=16)),
    ),
    "wav2vec2, never masked": ("audio", lambda: hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**UNMASKED))),
}


def processors(folder: Path) -> None:
    tiny_tokenizer(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_only_head_and_pooler_of_a_pretrained_checkpoint_are_drawn(tmp_path: Path, name: str) -> None:
    kind, build = CHECKPOINTS[name]
    folder = tmp_path / "model"
    build().save_pretrained(folder)
    if kind == "audio":
        hf.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    else:
        processors(folder)
    loaded = task_code(f"{kind}-classification").load(model_folder(str(folder)), name, ClassTargets(("a", "b")))
    assert all(key in head_of(loaded.model) or "pooler" in key for key in loaded.fresh)
    saved = load_file(folder / "model.safetensors")
    inherited = [key for key in loaded.pristine if key in saved and key not in loaded.fresh]
    assert all(torch.equal(loaded.pristine[key], saved[key].float()) for key in inherited)


def test_the_encoder_alone_of_a_model_with_two_halves_is_refused(tmp_path: Path) -> None:
    hf.T5EncoderModel(hf.T5Config(**T5)).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    with pytest.raises(BadData, match=r"lacks \d+ weights of T5ForSequenceClassification .*transformer.decoder.block"):
        task_code("text-classification").load(tmp_path, "t5", ClassTargets(("a", "b")))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks for the old name
def test_what_an_adapters_sentence_says_makes_a_model(model: Path, tmp_path: Path, assign: Any) -> None:
    """An adapter beside its base is refused; merged as the sentence says, both are one model."""
    base = Path(shutil.copytree(model, tmp_path / "base"))
    classifier = hf.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    peft.get_peft_model(classifier, config).save_pretrained(tmp_path / "adapter")
    beside = Path(shutil.copytree(base, tmp_path / "beside"))
    for file in (tmp_path / "adapter").iterdir():
        shutil.copy(file, beside)
    with pytest.raises(BadData, match=r"holds an adapter .* beside the weights of a whole model"):
        model_folder(str(beside))
    with pytest.raises(BadData, match=r"is an adapter of .*, not a whole model: merge the two"):
        model_folder(str(tmp_path / "adapter"))
    merged = peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tiny_tokenizer(tmp_path / "merged")
    loaded = ModelCache().open(assign(spec={"model": str(tmp_path / "merged")}))
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(loaded.pretrained.pristine[query], merged.state_dict()[query])
    assert not torch.equal(merged.state_dict()[query], load_file(model / "model.safetensors")[query[5:]])
